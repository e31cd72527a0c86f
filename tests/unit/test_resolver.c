/* Look-ups, answered by a small name server that runs in the same loop on loopback. Names end in a
 * dot so that the system's search list stays out of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "testenv.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/reader.h"
#include "base/writer.h"
#include "iotest.h"

#define TYPE_A 1
#define TYPE_AAAA 28
#define TYPE_SRV 33
#define MAX_DONE 16

/* ---- the name server ---- */

typedef struct record {
    const char *name;
    uint16_t type;
    const char *value; /* an address, or the SRV target */
    uint16_t priority;
    uint16_t weight;
    uint16_t port;
} record;

static const record ZONE[] = {
    {"both.test", TYPE_A, "192.0.2.1", 0, 0, 0},
    {"both.test", TYPE_A, "192.0.2.2", 0, 0, 0},
    {"both.test", TYPE_AAAA, "2001:db8::1", 0, 0, 0},
    {"four.test", TYPE_A, "192.0.2.4", 0, 0, 0},
    {"six.test", TYPE_AAAA, "2001:db8::6", 0, 0, 0},
    {"second.test", TYPE_A, "192.0.2.22", 0, 0, 0},
    {"_stun._udp.example.test", TYPE_SRV, "second.test", 20, 5, 3479},
    {"_stun._udp.example.test", TYPE_SRV, "four.test", 10, 0, 3478},
    {"_stun._udp.example.test", TYPE_SRV, "missing.test", 5, 0, 3477},
    {"_stun._udp.none.test", TYPE_SRV, "", 0, 0, 0},
    {"_stun._udp.weights.test", TYPE_SRV, "four.test", 1, 1, 1},
    {"_stun._udp.weights.test", TYPE_SRV, "four.test", 1, 9, 9},
    {"_stun._udp.dead.test", TYPE_SRV, "missing.test", 1, 1, 1},
};

typedef struct fixture {
    iotest f;
    int server;
    atl_watch *server_watch;
    int mute;    /* questions are counted, not answered */
    int garbage; /* answers are noise */
    size_t questions;
    /* answers to look-ups, in the order in which they came */
    size_t n_done;
    int who[MAX_DONE];
    int32_t status[MAX_DONE];
    size_t n[MAX_DONE];
    atl_addr addrs[MAX_DONE][ATL_RESOLVE_MAX];
    int inside; /* a call into the resolver is in progress */
} fixture;

typedef struct asker {
    fixture *fx;
    int who;
} asker;

/* The name of a question as text. */
static void read_name(atl_reader *reader, char *out, size_t cap) {
    size_t at = 0;
    uint8_t len = 0;

    while (atl_read_u8(reader, &len) == ATLAS_OK && len != 0) {
        assert_true(len < 64 && at + len + 2 < cap);
        if (at > 0) {
            out[at++] = '.';
        }
        assert_int_equal(atl_read_bytes(reader, out + at, len), ATLAS_OK);
        at += len;
    }
    out[at] = '\0';
}

static void write_name(atl_writer *writer, const char *name) {
    while (*name != '\0') {
        size_t len = strcspn(name, ".");

        atl_write_u8(writer, (uint8_t)len);
        atl_write_bytes(writer, name, len);
        name += len + (name[len] == '.');
    }
    atl_write_u8(writer, 0);
}

static void write_record(atl_writer *writer, const record *r) {
    size_t len_at;
    atl_addr addr;

    atl_write_u16(writer, 0xc00c); /* the name of the question */
    atl_write_u16(writer, r->type);
    atl_write_u16(writer, 1);
    atl_write_u32(writer, 60);
    len_at = writer->len;
    atl_write_u16(writer, 0);
    if (r->type == TYPE_SRV) {
        atl_write_u16(writer, r->priority);
        atl_write_u16(writer, r->weight);
        atl_write_u16(writer, r->port);
        write_name(writer, r->value);
    } else {
        assert_int_equal(atl_addr_parse_ip(r->value, strlen(r->value), 0, &addr), ATLAS_OK);
        atl_write_bytes(writer, addr.ip, r->type == TYPE_A ? 4 : 16);
    }
    writer->data[len_at + 1] = (uint8_t)(writer->len - len_at - 2);
}

static size_t make_answer(const uint8_t *question, size_t len, uint8_t *out, size_t cap) {
    atl_reader reader;
    atl_writer writer;
    char name[256];
    uint16_t id;
    uint16_t type;
    uint16_t count = 0;
    int known = 0;
    size_t end;
    size_t i;

    atl_reader_init(&reader, question, len);
    assert_int_equal(atl_read_u16(&reader, &id), ATLAS_OK);
    assert_int_equal(atl_read_skip(&reader, 10), ATLAS_OK);
    read_name(&reader, name, sizeof(name));
    assert_int_equal(atl_read_u16(&reader, &type), ATLAS_OK);
    end = len - reader.left + 2; /* the class, too */
    for (i = 0; i < ATL_COUNT(ZONE); i++) {
        known |= strcmp(ZONE[i].name, name) == 0;
        count = (uint16_t)(count + (strcmp(ZONE[i].name, name) == 0 && ZONE[i].type == type));
    }
    atl_writer_init(&writer, out, cap);
    atl_write_u16(&writer, id);
    atl_write_u16(&writer, known ? 0x8580 : 0x8583); /* answer, authoritative; no such name */
    atl_write_u16(&writer, 1);
    atl_write_u16(&writer, count);
    atl_write_u32(&writer, 0);
    atl_write_bytes(&writer, question + 12, end - 12);
    for (i = 0; i < ATL_COUNT(ZONE); i++) {
        if (strcmp(ZONE[i].name, name) == 0 && ZONE[i].type == type) {
            write_record(&writer, &ZONE[i]);
        }
    }
    assert_int_equal(writer.error, ATLAS_OK);
    return writer.len;
}

static void on_question(void *user, int32_t fd, uint32_t events) {
    fixture *fx = user;
    struct sockaddr_in from;
    socklen_t from_len = sizeof(from);
    uint8_t question[512];
    uint8_t answer[512];
    ssize_t len =
        recvfrom(fd, question, sizeof(question), MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
    size_t n;

    (void)events;
    if (len < 0) {
        return;
    }
    fx->questions++;
    if (fx->mute) {
        return;
    }
    n = make_answer(question, (size_t)len, answer, sizeof(answer));
    if (fx->garbage) {
        memset(answer + 12, 0xff, n - 12);
    }
    assert_int_equal(sendto(fd, answer, n, 0, (struct sockaddr *)&from, from_len), (ssize_t)n);
}

static void begin(fixture *fx) {
    struct sockaddr_in sin;
    socklen_t len = sizeof(sin);
    char csv[32];

    memset(fx, 0, sizeof(*fx));
    iotest_begin(&fx->f);
    fx->server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fx->server, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(getsockname(fx->server, (struct sockaddr *)&sin, &len), 0);
    assert_int_equal(
        atl_watch_add(fx->f.os, fx->server, ATLAS_FD_READ, on_question, fx, &fx->server_watch),
        ATLAS_OK);
    (void)snprintf(csv, sizeof(csv), "127.0.0.1:%u", ntohs(sin.sin_port));
    assert_int_equal(atl_os_set_dns(fx->f.os, csv), ATLAS_OK);
}

static void end(fixture *fx) {
    size_t before = fx->n_done;

    atl_watch_remove(fx->server_watch);
    assert_int_equal(close(fx->server), 0);
    iotest_end(&fx->f);
    assert_int_equal(fx->n_done, before); /* the end of the resolver calls nobody */
}

/* ---- asking ---- */

static void on_done(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    asker *a = user;
    fixture *fx = a->fx;

    assert_int_equal(fx->inside, 0); /* never from inside a call */
    assert_true(fx->n_done < MAX_DONE && n <= ATL_RESOLVE_MAX);
    assert_int_equal(status == ATLAS_OK, n > 0);
    fx->who[fx->n_done] = a->who;
    fx->status[fx->n_done] = status;
    fx->n[fx->n_done] = n;
    if (n > 0) {
        memcpy(fx->addrs[fx->n_done], addrs, n * sizeof(*addrs));
    }
    fx->n_done++;
}

static atl_resolve *ask(fixture *fx, asker *a, const char *host, uint16_t port, uint8_t family) {
    atl_resolve *out = NULL;

    fx->inside = 1;
    assert_int_equal(fx->f.io.resolve(fx->f.io.impl, host, port, family, on_done, a, &out),
                     ATLAS_OK);
    fx->inside = 0;
    assert_non_null(out);
    return out;
}

static atl_resolve *ask_srv(fixture *fx, asker *a, const char *domain) {
    atl_resolve *out = NULL;

    fx->inside = 1;
    assert_int_equal(fx->f.io.resolve_srv(fx->f.io.impl, "_stun._udp", domain, on_done, a, &out),
                     ATLAS_OK);
    fx->inside = 0;
    assert_non_null(out);
    return out;
}

static void wait_done(fixture *fx, size_t n) {
    int i;

    for (i = 0; i < 200 && fx->n_done < n; i++) {
        iotest_turn(&fx->f, 50);
    }
    assert_int_equal(fx->n_done, n);
}

/* The k-th answer has exactly these addresses; "" ends them. Their order is the system's choice
 * unless `ordered`. */
static void expect_addrs(const fixture *fx, size_t k, const char *const *texts, int ordered) {
    size_t n = 0;

    while (texts[n][0] != '\0') {
        char text[ATLAS_ADDR_MAX];
        int found = 0;
        size_t i;

        for (i = 0; i < fx->n[k]; i++) {
            atl_addr_text(&fx->addrs[k][i], text);
            found |= strcmp(text, texts[n]) == 0 && (!ordered || i == n);
        }
        if (!found) {
            fail_msg("%s is missing", texts[n]);
        }
        n++;
    }
    assert_int_equal(fx->n[k], n);
}

static void names_and_literals(void **state) {
    static const struct {
        const char *host;
        uint8_t family;
        int32_t status;
        int asks; /* questions to the name server */
        const char *addrs[4];
    } CASES[] = {
        {"both.test.", 0, 0, 1, {"192.0.2.1:7", "192.0.2.2:7", "[2001:db8::1]:7", ""}},
        {"both.test.", 4, 0, 1, {"192.0.2.1:7", "192.0.2.2:7", ""}},
        {"both.test.", 6, 0, 1, {"[2001:db8::1]:7", ""}},
        {"four.test.", 0, 0, 1, {"192.0.2.4:7", ""}},
        {"six.test.", 0, 0, 1, {"[2001:db8::6]:7", ""}},
        {"four.test.", 6, ATLAS_ERR_RESOLVE, 1, {""}},
        {"missing.test.", 0, ATLAS_ERR_RESOLVE, 1, {""}},
        {"192.0.2.9", 0, 0, 0, {"192.0.2.9:7", ""}},
        {"192.0.2.9", 4, 0, 0, {"192.0.2.9:7", ""}},
        {"192.0.2.9", 6, ATLAS_ERR_RESOLVE, 0, {""}},
        {"2001:db8::9", 0, 0, 0, {"[2001:db8::9]:7", ""}},
        {"2001:db8::9", 4, ATLAS_ERR_RESOLVE, 0, {""}},
        {"localhost", 0, 0, 0, {"127.0.0.1:7", "[::1]:7", ""}},
        {"LocalHost.", 4, 0, 0, {"127.0.0.1:7", ""}},
        {"localhost", 6, 0, 0, {"[::1]:7", ""}},
        {"a..b", 0, ATLAS_ERR_RESOLVE, 0, {""}},
    };
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(CASES); i++) {
        fixture fx;
        asker a = {&fx, (int)i};

        begin(&fx);
        (void)ask(&fx, &a, CASES[i].host, 7, CASES[i].family);
        assert_int_equal(fx.n_done, 0);
        wait_done(&fx, 1);
        assert_int_equal(fx.who[0], (int)i);
        assert_int_equal(fx.status[0], CASES[i].status);
        expect_addrs(&fx, 0, CASES[i].addrs, 0);
        assert_int_equal(fx.questions > 0, CASES[i].asks);
        end(&fx);
    }
}

static void bad_arguments(void **state) {
    char name[400];
    atl_resolve *out = NULL;
    fixture fx;
    asker a = {&fx, 0};
    atl_io *io = &fx.f.io;

    (void)state;
    begin(&fx);
    memset(name, 'a', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(io->resolve(io->impl, "", 1, 0, on_done, &a, &out), ATLAS_ERR_INVALID);
    assert_int_equal(io->resolve(io->impl, NULL, 1, 0, on_done, &a, &out), ATLAS_ERR_INVALID);
    assert_int_equal(io->resolve(io->impl, "x.", 1, 5, on_done, &a, &out), ATLAS_ERR_INVALID);
    assert_int_equal(io->resolve(io->impl, name, 1, 0, on_done, &a, &out), ATLAS_ERR_ADDRESS);
    assert_int_equal(io->resolve_srv(io->impl, "_stun._udp", "", on_done, &a, &out),
                     ATLAS_ERR_INVALID);
    assert_int_equal(io->resolve_srv(io->impl, "_stun._udp", name, on_done, &a, &out),
                     ATLAS_ERR_ADDRESS);
    assert_int_equal(atl_os_set_dns(fx.f.os, "no address"), ATLAS_ERR_ADDRESS);
    assert_null(out);
    end(&fx);
}

static void services(void **state) {
    static const char *const EXAMPLE[] = {"192.0.2.4:3478", "192.0.2.22:3479", ""};
    static const char *const NONE[] = {"none.test.", "dead.test.", "missing.test."};
    fixture fx;
    asker a = {&fx, 0};
    size_t i;

    (void)state;
    begin(&fx);
    (void)ask_srv(&fx, &a, "example.test");
    wait_done(&fx, 1);
    assert_int_equal(fx.status[0], ATLAS_OK);
    expect_addrs(&fx, 0, EXAMPLE, 1); /* by priority; a target that does not resolve is left out */
    for (i = 0; i < ATL_COUNT(NONE); i++) {
        (void)ask_srv(&fx, &a, NONE[i]);
        wait_done(&fx, 2 + i);
        assert_int_equal(fx.status[1 + i], ATLAS_ERR_RESOLVE);
    }
    end(&fx);
}

/* Weights 1 and 9 of one priority: the heavier one comes first mostly, not always. */
static void service_weights(void **state) {
    size_t heavy_first = 0;
    fixture fx;
    asker a = {&fx, 0};
    int i;

    (void)state;
    begin(&fx);
    for (i = 0; i < 200; i++) {
        fx.n_done = 0;
        (void)ask_srv(&fx, &a, "weights.test.");
        wait_done(&fx, 1);
        assert_int_equal(fx.n[0], 2);
        assert_int_equal(fx.addrs[0][0].port + fx.addrs[0][1].port, 10);
        heavy_first += fx.addrs[0][0].port == 9;
    }
    /* 9/11 of 200 is 164 (the draw includes 0), with a deviation of 5.5 */
    assert_in_range(heavy_first, 130, 195);
    end(&fx);
}

static void several_at_once_and_cancel(void **state) {
    static const char *const FOUR[] = {"192.0.2.4:2", ""};
    atl_resolve *cancelled;
    fixture fx;
    asker a[4];
    int i;

    (void)state;
    begin(&fx);
    for (i = 0; i < 4; i++) {
        a[i].fx = &fx;
        a[i].who = i;
    }
    cancelled = ask(&fx, &a[0], "both.test.", 1, 0);
    (void)ask(&fx, &a[1], "four.test.", 2, 0);
    fx.f.io.resolve_cancel(fx.f.io.impl, cancelled);
    /* a finished one, before it is told */
    cancelled = ask(&fx, &a[2], "192.0.2.1", 3, 0);
    fx.f.io.resolve_cancel(fx.f.io.impl, cancelled);
    cancelled = ask_srv(&fx, &a[3], "example.test.");
    fx.f.io.resolve_cancel(fx.f.io.impl, cancelled);
    wait_done(&fx, 1);
    assert_int_equal(fx.who[0], 1);
    expect_addrs(&fx, 0, FOUR, 1);
    for (i = 0; i < 5; i++) {
        iotest_turn(&fx.f, 10);
    }
    assert_int_equal(fx.n_done, 1);
    end(&fx);
}

/* Cancelling the last look-up leaves nothing behind, though the server never answers. */
static void cancel_frees_at_once(void **state) {
    size_t live;
    fixture fx;
    asker a = {&fx, 0};
    int i;

    (void)state;
    begin(&fx);
    fx.mute = 1;
    live = fx.f.t.live;
    for (i = 0; i < 20; i++) {
        atl_resolve *one = ask(&fx, &a, "both.test.", 1, 0);
        atl_resolve *two = ask_srv(&fx, &a, "example.test.");

        iotest_turn(&fx.f, 5);
        fx.f.io.resolve_cancel(fx.f.io.impl, one);
        fx.f.io.resolve_cancel(fx.f.io.impl, two);
        assert_in_range(fx.f.t.live, live, live + 3); /* c-ares may keep a watched socket */
    }
    assert_true(fx.questions > 0);
    assert_int_equal(fx.n_done, 0);
    end(&fx);
}

static void end_with_look_ups_in_progress(void **state) {
    fixture fx;
    asker a = {&fx, 0};

    (void)state;
    begin(&fx);
    fx.mute = 1;
    (void)ask(&fx, &a, "both.test.", 1, 0);
    (void)ask_srv(&fx, &a, "example.test.");
    (void)ask(&fx, &a, "192.0.2.1", 1, 0);
    assert_int_equal(atl_os_set_dns(fx.f.os, "127.0.0.1"), ATLAS_ERR_STATE);
    end(&fx);
}

/* A server that answers with noise, or nobody at the port: an error, after c-ares' own tries. */
static void bad_servers(void **state) {
    uint64_t deadline;
    fixture fx;
    asker a = {&fx, 0};
    int i;

    (void)state;
    begin(&fx);
    fx.garbage = 1;
    (void)ask(&fx, &a, "both.test.", 1, 4);
    deadline = atl_loop_deadline(&fx.f.loop);
    assert_true(deadline != ATLAS_NO_DEADLINE &&
                deadline <= fx.f.loop.now + UINT64_C(3) * ATL_SECOND);
    for (i = 0; i < 20 && fx.n_done == 0; i++) {
        iotest_turn(&fx.f, 20);
    }
    end(&fx);

    begin(&fx);
    assert_int_equal(atl_os_set_dns(fx.f.os, "127.0.0.1:1"), ATLAS_OK);
    (void)ask(&fx, &a, "both.test.", 1, 4);
    wait_done(&fx, 1); /* ICMP ends each try at once */
    assert_int_equal(fx.status[0], ATLAS_ERR_RESOLVE);
    end(&fx);
}

static void answered_after_a_lost_question(void **state) {
    static const char *const FOUR[] = {"192.0.2.4:1", ""};
    fixture fx;
    asker a = {&fx, 0};
    int i;

    (void)state;
    begin(&fx);
    fx.mute = 1;
    (void)ask(&fx, &a, "four.test.", 1, 4);
    for (i = 0; i < 100 && fx.questions == 0; i++) {
        iotest_turn(&fx.f, 50);
    }
    fx.mute = 0;
    wait_done(&fx, 1); /* the timer asks again */
    expect_addrs(&fx, 0, FOUR, 1);
    assert_int_equal(fx.questions, 2);
    end(&fx);
}

static void count_done(void *user, int32_t status, const atl_addr *addrs, size_t n) {
    (void)status;
    (void)addrs;
    (void)n;
    (*(size_t *)user)++;
}

static void scenario(testenv *t, void *user) {
    atl_resolve *out = NULL;
    size_t asked = 0;
    size_t done = 0;
    atl_loop loop;
    atl_os *os = NULL;
    atl_io io;
    int i;

    (void)user;
    atl_loop_init(&loop, &t->env);
    if (atl_os_new(&loop, &os, &io) != ATLAS_OK) {
        return;
    }
    if (atl_os_set_dns(os, "127.0.0.1:1") == ATLAS_OK) {
        asked += io.resolve(io.impl, "127.0.0.1", 1, 0, count_done, &done, &out) == ATLAS_OK;
        (void)io.resolve(io.impl, "both.test.", 1, 0, count_done, &done, &out);
        for (i = 0; i < 3; i++) {
            (void)atl_os_process(os, NULL, 0, 64);
            (void)atl_loop_run_work(&loop, 64);
        }
        assert_true(done >= asked);
    }
    atl_os_free(os);
}

static void allocation_failures(void **state) {
    (void)state;
    assert_true(testenv_each_failure(scenario, NULL) >= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_literals),
        cmocka_unit_test(bad_arguments),
        cmocka_unit_test(services),
        cmocka_unit_test(service_weights),
        cmocka_unit_test(several_at_once_and_cancel),
        cmocka_unit_test(cancel_frees_at_once),
        cmocka_unit_test(end_with_look_ups_in_progress),
        cmocka_unit_test(bad_servers),
        cmocka_unit_test(answered_after_a_lost_question),
        cmocka_unit_test(allocation_failures),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
