/* Multiaddrs: as binary and, where there is no NUL inside, as text. What is accepted must come back
 * the same. */
#include "address/multiaddr.h"

#include <atlas/address.h>

#include <stdlib.h>
#include <string.h>

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

static void fuzz_binary(const uint8_t *data, size_t size) {
    char text[ATLAS_MULTIADDR_MAX];
    char again[ATLAS_MULTIADDR_MAX];
    uint8_t bytes[ATL_MULTIADDR_BYTES];
    atl_maddr maddr;
    atl_maddr same;
    size_t len;

    if (atl_multiaddr_decode(data, size, text, sizeof(text)) != ATLAS_OK) {
        check(atl_maddr_from_bytes(data, size, &maddr) != ATLAS_OK);
        return;
    }
    check(atl_multiaddr_encode(text, bytes, sizeof(bytes), &len) == ATLAS_OK);
    check(len == size && memcmp(bytes, data, len) == 0); /* one binary form each */
    if (atl_maddr_from_bytes(data, size, &maddr) == ATLAS_OK) {
        check(atl_maddr_text(&maddr, again, sizeof(again)) == ATLAS_OK);
        check(atl_maddr_parse(again, &same) == ATLAS_OK);
        check(memcmp(&maddr, &same, sizeof(maddr)) == 0);
    }
}

static void fuzz_text(const char *text) {
    atlas_target_info info = {.size = sizeof(info)};
    char canonical[ATLAS_MULTIADDR_MAX];
    char again[ATLAS_MULTIADDR_MAX];
    char host[ATL_HOST_MAX];
    char addr_text[ATLAS_ADDR_MAX];
    atl_addr addr;
    atl_addr same;
    uint16_t port;

    if (atlas_multiaddr_normalize(text, canonical, sizeof(canonical)) == ATLAS_OK) {
        check(atlas_multiaddr_normalize(canonical, again, sizeof(again)) == ATLAS_OK);
        check(strcmp(canonical, again) == 0);
    }
    if (atlas_target_parse(text, &info) == ATLAS_OK) {
        check(info.peer[0] != '\0');
    }
    if (atl_addr_parse(text, &addr) == ATLAS_OK) {
        atl_addr_text(&addr, addr_text);
        check(atl_addr_parse(addr_text, &same) == ATLAS_OK && atl_addr_equal(&addr, &same));
    }
    if (atl_host_port_split(text, host, sizeof(host), &port) == ATLAS_OK) {
        check(host[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);

    fuzz_binary(data, size);
    if (text != NULL) {
        memcpy(text, data, size);
        text[size] = '\0';
        fuzz_text(text);
    }
    free(text);
    return 0;
}
