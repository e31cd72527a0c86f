/* atlas init, atlas id. */
#include "explain.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Makes a directory for this user alone; one that is there stays as it is. */
static int make_dir(app *a, const char *path) {
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        out_error(&a->out, ATLAS_ERR_IO, "%s: %s", path, strerror(errno));
        return EXIT_FAILED;
    }
    return 0;
}

static void print_id(app *a) {
    char id[ATLAS_PEER_ID_MAX];

    (void)atlas_key_peer_id(a->key, id, sizeof(id));
    out_open(&a->out, "ready");
    out_str(&a->out, "peer", id);
    out_str(&a->out, "file", a->key_path);
    out_close(&a->out, "%s", id);
}

int run_init(app *a) {
    char state[PATH_CAP + 8];
    int32_t rv;
    int code = app_paths(a);

    (void)snprintf(state, sizeof(state), "%s/state", a->opt.dir == NULL ? "" : a->opt.dir);
    if (code == 0) {
        code = make_dir(a, a->opt.dir);
    }
    if (code == 0) {
        code = make_dir(a, state);
    }
    if (code != 0) {
        return code;
    }
    rv = atlas_key_generate(&a->key);
    if (rv == ATLAS_OK) {
        rv = atlas_key_save(a->key, a->key_path);
    }
    if (rv == ATLAS_ERR_EXISTS) {
        out_error(&a->out, rv, "%s is there already and is not overwritten", a->key_path);
        return EXIT_FAILED;
    }
    if (rv != ATLAS_OK) {
        (void)app_error(a, rv, a->key_path);
        return EXIT_FAILED;
    }
    print_id(a);
    return EXIT_DONE;
}

int run_id(app *a) {
    int code = app_paths(a);
    int32_t rv;

    if (code != 0) {
        return code;
    }
    rv = atlas_key_load(a->key_path, &a->key);
    if (rv != ATLAS_OK) {
        return explain_key(a, rv);
    }
    print_id(a);
    return EXIT_DONE;
}
