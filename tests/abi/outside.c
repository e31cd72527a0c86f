/* A program outside the tree: a key, a context, its peer id, one turn of the loop. */
#include <atlas/atlas.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    static const uint8_t seed[32] = {1, 2, 3};
    char id[ATLAS_PEER_ID_MAX];
    atlas_key *key = NULL;
    atlas_ctx *ctx = NULL;
    int32_t err = atlas_key_from_seed(seed, &key);

    if (err == ATLAS_OK) {
        err = atlas_key_peer_id(key, id, sizeof(id));
    }
    if (err == ATLAS_OK) {
        err = atlas_new(NULL, key, &ctx);
    }
    if (err == ATLAS_OK) {
        err = atlas_process(ctx, NULL, 0);
    }
    if (err != ATLAS_OK) {
        fprintf(stderr, "%s\n", atlas_error_text(err));
        return 1;
    }
    atlas_free(ctx);
    atlas_key_free(key);
    printf("libatlas %s %s\n", atlas_version(), id);
    return strncmp(id, "12D3KooW", 8) == 0 ? 0 : 1;
}
