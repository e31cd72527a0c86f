/* What a key file holds. What is accepted must be written the same. */
#include "identity/key.h"

#include <stdlib.h>
#include <string.h>

static void check(int ok) {
    if (!ok) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t bytes[ATL_PRIVATE_KEY_PROTO];
    atlas_key *key;
    int32_t rc = atl_key_decode(data, size, &key);

    if (rc == ATLAS_OK) {
        atl_key_encode(key, bytes);
        atlas_key_free(key);
        check(size == sizeof(bytes) && memcmp(bytes, data, size) == 0);
    } else {
        check(rc == ATLAS_ERR_KEY || rc == ATLAS_ERR_TRUNCATED);
        check(rc != ATLAS_ERR_TRUNCATED || size < ATL_PRIVATE_KEY_PROTO);
    }
    return 0;
}
