/* What is acknowledged survives a kill at any moment. A helper (this program, started again) puts
 * and deletes records in batches and says on a pipe what it is about to commit and what it has
 * committed; it is killed with SIGKILL at random moments; the file is opened again, and has exactly
 * what was committed, with the batch under way as a whole or not at all.
 *
 *     test_store_kill [SEED]
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "testenv.h"

#include "storetest.h"

#include "filetest.h"

#if defined(__SANITIZE_ADDRESS__)
enum { KILLS = 25 };
#else
enum { KILLS = 100 };
#endif
enum { PEERS = 256, BATCH = 12, LONGEST_MS = 120 };

/* What is known of a peer. seq 0: never seen. */
typedef struct peer_state {
    uint64_t seq;
    uint8_t deleted;
} peer_state;

typedef struct change {
    uint32_t peer;
    uint32_t deleted;
    uint64_t seq;
} change;

/* On the pipe; below PIPE_BUF, so that none is written in part. */
typedef struct message {
    uint32_t committed; /* 0: about to be committed */
    uint32_t n;
    change changes[BATCH];
} message;

static uint64_t first_seed;
static atl_peer_id ids[PEERS];

/* What the store says of a peer. (That its record is genuine was checked when it was read.) */
static peer_state state_of(files *f, uint32_t peer) {
    peer_state s = {0, 0};
    atl_record_view view;

    s.seq = atl_record_store_seq(f->w.store, &ids[peer]);
    s.deleted = s.seq > 0 && !atl_record_store_get(f->w.store, &ids[peer], f->w.now, &view);
    assert_true(s.seq == 0 || s.deleted || view.seq == s.seq);
    return s;
}

/* ---- the helper ---- */

static void say(const message *m) {
    if (write(STDOUT_FILENO, m, sizeof(*m)) != (ssize_t)sizeof(*m)) {
        _exit(3);
    }
}

static void check(int32_t rc) {
    if (rc != ATLAS_OK) {
        _exit(4);
    }
}

static void one_change(files *f, peer_state *known, change *c) {
    c->seq = known->seq;
    c->deleted = known->seq > 0 && !known->deleted && testenv_rand(&f->w.t) % 4 == 0;
    if (c->deleted) {
        if (!atl_record_store_delete(f->w.store, &ids[c->peer], f->w.now)) {
            _exit(5);
        }
        check(atl_store_file_sync(f->file, f->w.store, &ids[c->peer], f->w.t.wall, f->w.now));
    } else {
        c->seq++;
        check(files_put(f, c->peer, c->seq, NULL, 1));
    }
    known->seq = c->seq;
    known->deleted = (uint8_t)c->deleted;
}

/* Goes on until it is killed. */
static void help(const char *path, uint64_t seed) {
    static files f;
    peer_state known[PEERS];
    message m;

    world_init(&f.w, 1000, 1000);
    f.w.t.seed = seed;
    (void)snprintf(f.path, sizeof(f.path), "%s", path);
    check(files_open(&f, NULL, NULL));
    for (uint32_t i = 0; i < PEERS; i++) {
        atl_peer_id id = peer_id(i);
        atl_record_view view;

        known[i].seq = atl_record_store_seq(f.w.store, &id);
        known[i].deleted =
            known[i].seq > 0 && !atl_record_store_get(f.w.store, &id, f.w.now, &view);
    }
    for (;;) {
        uint32_t first = (uint32_t)(testenv_rand(&f.w.t) % PEERS);

        memset(&m, 0, sizeof(m));
        m.n = 1 + (uint32_t)(testenv_rand(&f.w.t) % BATCH);
        for (uint32_t i = 0; i < m.n; i++) {
            m.changes[i].peer = (first + i * 5) % PEERS; /* each once */
            one_change(&f, &known[m.changes[i].peer], &m.changes[i]);
        }
        say(&m);
        check(atl_store_file_commit(f.file));
        m.committed = 1;
        say(&m);
    }
}

/* ---- the test ---- */

/* Starts the helper; its pipe. */
static int start(const char *path, uint64_t seed, pid_t *pid) {
    char text[32];
    int ends[2];

    (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)seed);
    assert_int_equal(pipe(ends), 0);
    *pid = fork();
    assert_true(*pid >= 0);
    if (*pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        (void)execl("/proc/self/exe", "test_store_kill", "help", path, text, (char *)NULL);
        _exit(9);
    }
    (void)close(ends[1]);
    return ends[0];
}

static int hear(int from, message *m) {
    size_t have = 0;

    while (have < sizeof(*m)) {
        ssize_t n = read(from, (uint8_t *)m + have, sizeof(*m) - have);

        if (n <= 0) {
            assert_true(n == 0 || errno == EINTR);
            assert_int_equal(have, 0);
            return 0;
        }
        have += (size_t)n;
    }
    return 1;
}

static void take(peer_state *known, const message *m) {
    for (uint32_t i = 0; i < m->n; i++) {
        known[m->changes[i].peer].seq = m->changes[i].seq;
        known[m->changes[i].peer].deleted = (uint8_t)m->changes[i].deleted;
    }
}

static int matches(files *f, const peer_state *known) {
    for (uint32_t i = 0; i < PEERS; i++) {
        peer_state s = state_of(f, i);

        if (s.seq != known[i].seq || s.deleted != known[i].deleted) {
            return 0;
        }
    }
    return 1;
}

static void wait_us(uint64_t us) {
    struct timespec t = {0, (long)us * 1000};

    (void)nanosleep(&t, NULL);
}

/* The log's number: another one each time that it begins anew, being in the database. */
static uint64_t salt_of(const char *path) {
    uint64_t salt = 0;
    char name[128];
    FILE *in;

    (void)snprintf(name, sizeof(name), "%s-wal", path);
    in = fopen(name, "rb");
    if (in != NULL) {
        if (fseek(in, 16, SEEK_SET) != 0 || fread(&salt, sizeof(salt), 1, in) != 1) {
            salt = 0;
        }
        (void)fclose(in);
    }
    return salt;
}

/* A copy is looked at, so that the helper itself finds its file as it has left it: with a log that
 * grows until it is written back, kill by kill. */
static void copy_file(const char *from, const char *to, const char *suffix) {
    char name[128];
    uint8_t *data;
    size_t len;

    (void)snprintf(name, sizeof(name), "%s%s", from, suffix);
    if (access(name, F_OK) != 0) {
        return;
    }
    data = files_read(name, &len);
    (void)snprintf(name, sizeof(name), "%s%s", to, suffix);
    files_write(name, data, len);
    free(data);
}

typedef struct round {
    files f;         /* where copies are looked at */
    char helper[96]; /* the helper's file */
    peer_state known[PEERS];
    size_t commits, under_way, kept, logs;
    uint64_t salt;
} round;

/* Lets the helper work for a while and kills it. *last: what was under way; n 0: nothing. */
static void work_and_die(round *r, message *last) {
    testenv *t = &r->f.w.t;
    int status = 0;
    message m;
    pid_t pid;
    int from = start(r->helper, testenv_rand(t), &pid);

    memset(last, 0, sizeof(*last));
    /* one in eight while it opens the file, the others while it writes */
    if (testenv_rand(t) % 8 != 0) {
        assert_true(hear(from, last));
    }
    /* and one in four at once: what is heard first is that a commit begins */
    if (testenv_rand(t) % 4 != 0) {
        wait_us(testenv_rand(t) % (LONGEST_MS * 1000));
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    while (hear(from, &m)) {
        if (m.committed) {
            take(r->known, &m);
            r->commits++;
            memset(last, 0, sizeof(*last));
        } else {
            *last = m;
        }
    }
    (void)close(from);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status)); /* it had no error of its own */
}

static void look(round *r, const message *last) {
    peer_state next[PEERS];
    size_t refused = 99;

    memcpy(next, r->known, sizeof(next));
    take(next, last);
    r->logs += salt_of(r->helper) != r->salt;
    r->salt = salt_of(r->helper);
    copy_file(r->helper, r->f.path, "");
    copy_file(r->helper, r->f.path, "-wal");
    files_forget(&r->f);
    assert_int_equal(files_open(&r->f, NULL, &refused), ATLAS_OK);
    assert_int_equal(refused, 0);
    r->under_way += last->n > 0;
    if (!matches(&r->f, r->known)) {
        assert_true(last->n > 0 && matches(&r->f, next));
        memcpy(r->known, next, sizeof(r->known));
        r->kept++;
    }
    files_close(&r->f);
    files_remove(r->f.path);
}

static void nothing_acknowledged_is_lost(void **state) {
    static round r;

    (void)state;
    files_init(&r.f, 1000, 1000);
    (void)snprintf(r.helper, sizeof(r.helper), "%s/helper.db", r.f.dir);
    r.f.w.t.seed = first_seed;
    print_message("seed %llu, %d kills\n", (unsigned long long)first_seed, KILLS);
    for (size_t i = 0; i < KILLS; i++) {
        message last;

        work_and_die(&r, &last);
        look(&r, &last);
    }
    files_remove(r.helper);
    print_message("%zu commits, %zu logs; killed in %zu commits, %zu of those were on the disk\n",
                  r.commits, r.logs, r.under_way, r.kept);
    assert_true(r.commits > KILLS / 2);
    files_done(&r.f);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost),
    };

    for (uint32_t i = 0; i < PEERS; i++) {
        ids[i] = peer_id(i);
    }
    if (argc == 4 && strcmp(argv[1], "help") == 0) {
        help(argv[2], strtoull(argv[3], NULL, 10));
    }
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 10) : (uint64_t)time(NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
