/* A peer's certificate, whatever its bytes. DER elements and times that are accepted are written
 * again and must not change. */
#include "quic/certificate.h"
#include "quic/certificate_der.h"

#include <stdlib.h>
#include <string.h>

#define NOW INT64_C(1767225600)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int condition) {
    if (!condition) {
        abort();
    }
}

static void verify(const uint8_t *data, size_t size) {
    const char *why = NULL;
    atl_peer_id peer;
    int32_t rv;

    memset(&peer, 0x5a, sizeof(peer));
    rv = atl_certificate_verify(data, size, NOW, &peer, &why);
    check(rv == ATLAS_OK || rv == ATLAS_ERR_CERTIFICATE || rv == ATLAS_ERR_UNSUPPORTED);
    check((rv == ATLAS_OK) == (why == NULL));
    if (rv != ATLAS_OK) {
        check(peer.key[0] == 0x5a && peer.key[31] == 0x5a); /* untouched */
    }
}

static void element(const uint8_t *data, size_t size) {
    static uint8_t again[70000];
    atl_reader r, content, whole;
    atl_writer w;

    atl_reader_init(&r, data, size);
    if (size == 0 || atl_der_read(&r, data[0], &content, &whole) != ATLAS_OK) {
        return;
    }
    check(whole.left + r.left == size);
    atl_writer_init(&w, again, sizeof(again));
    atl_der_write(&w, data[0], content.data, content.left);
    check(w.error == ATLAS_OK && w.len == whole.left && memcmp(again, whole.data, w.len) == 0);
}

static void time_of(const uint8_t *data, size_t size) {
    uint8_t again[32];
    int64_t seconds = 0, back = 0;
    atl_reader r;
    atl_writer w;

    atl_reader_init(&r, data, size);
    if (atl_der_read_time(&r, &seconds) != ATLAS_OK || seconds < 0) {
        return;
    }
    atl_writer_init(&w, again, sizeof(again));
    atl_der_write_time(&w, seconds);
    check(w.error == ATLAS_OK);
    atl_reader_init(&r, again, w.len);
    check(atl_der_read_time(&r, &back) == ATLAS_OK && back == seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    verify(data, size);
    element(data, size);
    time_of(data, size);
    return 0;
}
