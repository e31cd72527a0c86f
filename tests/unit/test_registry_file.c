/* The registry with a file: what is acknowledged is there after a restart, a disk that is full is
 * told, and the memory claims nothing that the disk does not have. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry_world.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static registry_world w;
static char dir[64];
static char path[96];

static int set_up(void **state) {
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/atlas-registry-XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/records", dir);
    return 0;
}

static int tear_down(void **state) {
    static const char *const ends[] = {"", "-wal", "-shm", "-journal"};
    char name[128];

    (void)state;
    for (size_t i = 0; i < ATL_COUNT(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    return rmdir(dir);
}

/* The server and its registry end and begin again, with all clients. */
static void restart(void) {
    registry_stop(&w);
    relay_start(&w.r);
    registry_serve(&w);
    atl_registry_http_set_get_rate(w.registry, 0, 0);
    registry_world_run(&w, 100 * ATL_SECOND); /* old connections end */
    for (size_t i = 0; i < w.n_clients; i++) {
        if (w.clients[i].h3 != NULL) {
            atl_h3_abort(w.clients[i].h3);
        }
        client_dial(&w, &w.clients[i]);
    }
}

static void a_restart_keeps_records(void **state) {
    client *owner;
    client *stranger;
    atlas_key *key = key_of(5);
    atl_record_view view;
    struct stat st;
    made own;
    made other;
    made gone;

    (void)state;
    registry_world_start(&w, path);
    owner = client_new(&w, 20);
    stranger = client_new(&w, 21);
    record_make(owner->node.key, 4, world_seconds(&w), 3600, 1, "", &own);
    record_make(key, 9, world_seconds(&w), 3600, 0, "", &other);
    record_of(&w, stranger, 3, &gone);
    assert_int_equal(ask(&w, owner, "PUT", own.path, own.data, own.len), 200);
    assert_int_equal(ask(&w, stranger, "PUT", other.path, other.data, other.len), 200);
    assert_int_equal(ask(&w, stranger, "PUT", gone.path, gone.data, gone.len), 200);
    assert_int_equal(ask(&w, stranger, "DELETE", gone.path, NULL, 0), 204);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    restart();
    assert_int_equal(store_stats(&w)->records, 2);
    assert_true(stored(&w, &own.peer, &view));
    assert_int_equal(view.verified, 1);
    assert_true(stored(&w, &other.peer, &view));
    assert_int_equal(view.verified, 0);
    /* the time that has passed counts */
    assert_true(view.expires < w.r.relay.loop.now + 3501 * ATL_SECOND);
    assert_int_equal(ask(&w, owner, "GET", own.path, NULL, 0), 200);
    assert_memory_equal(owner->last.body, own.data, own.len);
    assert_int_equal(ask(&w, owner, "GET", other.path, NULL, 0), 200);
    assert_int_equal(ask(&w, owner, "GET", gone.path, NULL, 0), 404);
    /* a number that was deleted is remembered as well */
    assert_int_equal(ask(&w, owner, "PUT", gone.path, gone.data, gone.len), 409);
    record_of(&w, owner, 3, &own);
    assert_int_equal(ask(&w, owner, "PUT", own.path, own.data, own.len), 409);
    atlas_key_free(key);
    registry_world_done(&w);
}

static void one_process_has_the_file(void **state) {
    atl_registry_http *second = NULL;

    (void)state;
    registry_world_start(&w, path);
    assert_int_equal(atl_registry_http_new(&w.config, &second), ATLAS_ERR_AGAIN);
    assert_null(second);
    registry_world_done(&w);
}

/* Many puts that come in one turn, several of one node among them, and a delete: each is answered
 * as if they had come one by one. */
static void a_turn_is_one_transaction(void **state) {
    static asking asks[24];
    client *c;
    atlas_key *keys[20];
    made records[20];
    made newer;
    made older;
    size_t ok = 0;

    (void)state;
    registry_world_start(&w, path);
    c = client_new(&w, 20);
    for (uint32_t i = 0; i < 20; i++) {
        keys[i] = key_of(i);
        record_make(keys[i], 5, world_seconds(&w), 3600, 0, "", &records[i]);
        ask_begin(c, &asks[i], "PUT", records[i].path, records[i].data, records[i].len);
    }
    record_make(keys[7], 6, world_seconds(&w), 3600, 0, "", &newer);
    record_make(keys[7], 4, world_seconds(&w), 3600, 0, "", &older);
    ask_begin(c, &asks[20], "PUT", newer.path, newer.data, newer.len);
    ask_begin(c, &asks[21], "PUT", older.path, older.data, older.len);
    ask_begin(c, &asks[22], "PUT", newer.path, newer.data, newer.len);
    registry_world_run(&w, ATL_SECOND);
    for (size_t i = 0; i < 20; i++) {
        ok += asks[i].status == 200;
        atlas_key_free(keys[i]);
    }
    assert_int_equal(ok, 20);
    assert_int_equal(asks[20].status, 200);
    assert_int_equal(asks[21].status, 409);
    assert_int_equal(asks[22].status, 200);
    assert_int_equal(w.registry->n_puts, 0);
    restart();
    assert_int_equal(store_stats(&w)->records, 20);
    assert_int_equal(ask(&w, c, "GET", newer.path, NULL, 0), 200);
    assert_int_equal(c->last.len, newer.len);
    assert_memory_equal(c->last.body, newer.data, newer.len);
    registry_world_done(&w);
}

/* The disk is full, as far as this process is concerned. */
static void fill_disk(int full) {
    struct rlimit limit;
    struct stat st;
    char wal[128];
    rlim_t most = 0;

    (void)signal(SIGXFSZ, full ? SIG_IGN : SIG_DFL);
    (void)snprintf(wal, sizeof(wal), "%s-wal", path);
    if (stat(wal, &st) == 0) {
        most = (rlim_t)st.st_size;
    }
    if (stat(path, &st) == 0 && (rlim_t)st.st_size < most) {
        most = (rlim_t)st.st_size; /* neither grows */
    }
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = full ? most : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_told(void **state) {
    client *c;
    made first;
    made second;
    atl_record_view view;

    (void)state;
    registry_world_start(&w, path);
    c = client_new(&w, 20);
    record_of(&w, c, 1, &first);
    record_of(&w, c, 2, &second);
    assert_int_equal(ask(&w, c, "PUT", first.path, first.data, first.len), 200);
    fill_disk(1);
    (void)ask(&w, c, "PUT", second.path, second.data, second.len);
    fill_disk(0);
    assert_int_equal(c->last.status, 507);
    assert_true(answer_has(c, "{\"error\":\"disk\""));
    assert_int_equal(registry_stats(&w)->disk_errors, 1);
    /* the record that was there is there, and the other is nowhere */
    assert_true(stored(&w, &first.peer, &view));
    assert_true(view.seq == 1);
    fill_disk(1);
    (void)ask(&w, c, "DELETE", first.path, NULL, 0);
    fill_disk(0);
    assert_int_equal(c->last.status, 507);
    assert_int_equal(ask(&w, c, "GET", first.path, NULL, 0), 200);
    restart();
    assert_true(stored(&w, &first.peer, &view));
    assert_true(view.seq == 1);
    assert_int_equal(ask(&w, c, "PUT", second.path, second.data, second.len), 200);
    assert_true(stored(&w, &first.peer, &view));
    assert_true(view.seq == 2);
    registry_world_done(&w);
}

/* A record that makes way, or expires, or is refused for want of room goes from the file, too. */
static void the_file_does_not_outgrow_the_store(void **state) {
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, path);
    atl_record_store_limits_of(w.registry->store)->max_records = 5;
    c = client_new(&w, 20);
    for (uint32_t i = 0; i < 12; i++) {
        atlas_key *key = key_of(i);

        record_make(key, 1, world_seconds(&w), 3600, 0, "", &record);
        assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
        atlas_key_free(key);
    }
    assert_int_equal(store_stats(&w)->records, 5);
    assert_int_equal(store_stats(&w)->evicted, 7);
    w.config.limits.max_records = 100;
    restart();
    assert_int_equal(store_stats(&w)->records, 5);
    w.ttl = 5;
    w.drift = 0;
    record_of(&w, c, 1, &record);
    assert_int_equal(ask(&w, c, "PUT", record.path, record.data, record.len), 200);
    registry_world_run(&w, 130 * ATL_SECOND); /* swept */
    assert_int_equal(store_stats(&w)->records, 5);
    assert_int_equal(registry_stats(&w)->disk_errors, 0);
    registry_world_done(&w);
}

/* Its own record is on the disk when the call returns. */
static void its_own_record_is_kept_too(void **state) {
    atl_record_view view;
    made record;

    (void)state;
    registry_world_start(&w, path);
    record_make(w.r.relay.key, 4, world_seconds(&w), 3600, 2, "/ip4/10.0.0.1/udp/4433/quic-v1",
                &record);
    fill_disk(1);
    assert_int_equal(atl_registry_http_put_own(w.registry, record.data, record.len), ATLAS_ERR_IO);
    fill_disk(0);
    assert_false(stored(&w, &record.peer, &view));
    assert_int_equal(atl_registry_http_put_own(w.registry, record.data, record.len), ATLAS_OK);
    restart();
    assert_true(stored(&w, &record.peer, &view));
    assert_int_equal(view.verified, 1);
    registry_world_done(&w);
}

/* The client goes in the moment when its put waits for the disk. */
static void a_client_that_goes_before_the_answer(void **state) {
    static asking a;
    client *c;
    made record;

    (void)state;
    registry_world_start(&w, path);
    c = client_new(&w, 20);
    record_of(&w, c, 1, &record);
    ask_begin(c, &a, "PUT", record.path, record.data, record.len);
    registry_world_run(&w, ATL_MS); /* it is on its way: 5 ms */
    /* packets of the turn are read, work is still to be done */
    for (int i = 0; i < 100 && atl_list_empty(&w.registry->waiting); i++) {
        sim_host_program(w.r.relay.host, NULL, NULL, NULL);
        (void)sim_run(w.r.net, sim_now(w.r.net) + ATL_MS, NULL, NULL);
        atl_loop_update(&w.r.relay.loop);
        sim_host_process(w.r.relay.host);
    }
    assert_false(atl_list_empty(&w.registry->waiting));
    sim_host_program(w.r.relay.host, pair_drive, pair_deadline, &w.r.relay);
    registry_stop(&w);
    registry_world_done(&w);
}

/* Memory runs out at any allocation of the server while a put is on its way: nothing is left behind
 * (asserted at the end), and what was answered with 200 is there. */
static void memory_runs_out(void **state) {
    (void)state;
    for (size_t n = 1; n <= 40; n++) {
        static asking a;
        atl_record_view view;
        client *c;
        made record;

        registry_world_start(&w, n % 2 == 0 ? path : NULL);
        c = client_new(&w, 20);
        record_make(c->node.key, n, world_seconds(&w), 3600, 1, "", &record);
        ask_begin(c, &a, "PUT", record.path, record.data, record.len);
        w.r.fail_at = w.r.allocations + n / 2 + 1;
        registry_world_run(&w, ATL_SECOND);
        w.r.fail_at = 0;
        registry_world_run(&w, ATL_REGISTRY_PUT_TIMEOUT + ATL_SECOND);
        assert_int_equal(w.registry->n_puts, 0);
        assert_true(a.status == 0 || a.status == 200 || a.status == 503 || a.status == 507 ||
                    a.status == 408);
        if (a.status == 200) {
            assert_true(stored(&w, &record.peer, &view));
            assert_true(view.seq == n);
        }
        registry_world_done(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(a_restart_keeps_records),
        TEST(one_process_has_the_file),
        TEST(a_turn_is_one_transaction),
        TEST(a_full_disk_is_told),
        TEST(the_file_does_not_outgrow_the_store),
        TEST(its_own_record_is_kept_too),
        TEST(a_client_that_goes_before_the_answer),
        TEST(memory_runs_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
