/* A build without SQLite has the same calls, and no file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "discovery/store_file.h"

#include <unistd.h>

#include "testenv.h"

static void says_so(void **state) {
    atl_store_file *file = NULL;
    atl_record_put put;
    atl_peer_id id;
    size_t n = 7;
    testenv t;

    (void)state;
    testenv_init(&t);
    memset(&put, 0, sizeof(put));
    memset(&id, 0, sizeof(id));
    assert_int_equal(atl_store_file_open(&t.env, "/tmp/atlas-no-such-file.db", &file),
                     ATLAS_ERR_UNSUPPORTED);
    assert_null(file);
    assert_int_equal(t.log_lines, 1);
    assert_int_not_equal(access("/tmp/atlas-no-such-file.db", F_OK), 0);
    assert_int_equal(atl_store_file_load(file, NULL, 0, 0, 0, &n, &n), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(n, 7);
    assert_int_equal(atl_store_file_sync(file, NULL, &id, 0, 0), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atl_store_file_put(file, &put, 0), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atl_store_file_tombstone(file, &id, 0, 0), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atl_store_file_remove(file, &id), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atl_store_file_commit(file), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atl_store_file_expire(file, 0), ATLAS_ERR_UNSUPPORTED);
    assert_int_equal(atl_store_file_pending(file), 0);
    atl_store_file_close(file);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
