/* The configuration file: what is taken, what is warned of, what is refused, and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "config/config.h"
#include "config/scan.h"

#include <string.h>

#include "testenv.h"

#define ID_A "12D3KooWBtg3aaRMjxwedh83aGiUkwSxDwUZkzuJcfaqUmo7R3pq"
#define RELAY_A "/ip4/192.0.2.1/udp/4001/quic-v1/p2p/" ID_A

typedef struct heard {
    int errors;
    int warnings;
    uint32_t line; /* of the first error, or else of the first warning */
    char text[2048];
} heard;

static void hear(void *user, int32_t code, const char *file, uint32_t line, const char *text) {
    heard *h = user;

    assert_string_equal(file, "f");
    assert_true(line > 0);
    if (h->errors == 0 && (code != ATLAS_OK || h->warnings == 0)) {
        h->line = line;
        (void)snprintf(h->text, sizeof(h->text), "%s", text);
    }
    h->errors += code == ATLAS_ERR_CONFIG;
    h->warnings += code == ATLAS_OK;
}

static int32_t parse_len(testenv *t, const char *text, size_t len, heard *h, atl_config **out) {
    atl_config_sink sink = {.cb = hear, .user = h, .file = "f"};
    char *copy = malloc(len > 0 ? len : 1);
    int32_t rv;

    /* without the NUL behind it, so that reading past the end shows */
    assert_non_null(copy);
    memcpy(copy, text, len);
    memset(h, 0, sizeof(*h));
    *out = NULL;
    rv = atl_config_parse(&t->env, copy, len, &sink, out);
    free(copy);
    return rv;
}

static int32_t parse(testenv *t, const char *text, heard *h, atl_config **out) {
    return parse_len(t, text, strlen(text), h, out);
}

static uint64_t number(const atl_config *config, const char *section, const char *name) {
    int32_t i = atl_config_key_find(section, name);

    assert_true(i >= 0);
    assert_true(config->line[i] > 0);
    return config->value[i];
}

static const char whole_text[] =
    "# of others\n"
    "schema = 3\n"
    "[identity]\nname = \"a; b # c\"\n"
    "list = [\n  [1, 2],\n  [\"network]\", 3],\n]\n"
    "text = \"\"\"\n[network]\nport = 1\n\"\"\"\n"
    "[[tables]]\nx = { a = [1,\n2] }\n"
    "\n"
    "[network]\n"
    "port = 4_001 # mine\n"
    "ipv6 = false ; not here\n"
    "relays = [\n"
    "  '" RELAY_A
    "', # the first; with a comment\n"
    "\n"
    "  \"/dns4/relay.example.org/udp/443/quic-v1/p2p/" ID_A
    "\" ,\n"
    "]\n"
    "bootstrap = [ \"/dns4/boot.example.org/udp/443/quic-v1/p2p/" ID_A
    "\" ]\n"
    "[stun]\n"
    "servers = [\"stun.example.org:3478\", \"192.0.2.7\"]\n"
    "\ttimeout=2.5\n"
    "[ transport ]   # spaces\n"
    "enable_relay = true\n"
    "offer_relay = true\n"
    "relay_bandwidth_limit = 2097152\n"
    "idle_timeout = 45\n"
    "presence_interval = 0.25\n"
    "handshake_timeout = 7.125\n"
    "max_connections = 99\n"
    "max_streams_per_conn = 7\n"
    "[security]\n"
    "handshake_limit = 500\n"
    "max_clock_drift_secs = 60\n"
    "[relay]\n"
    "total_bandwidth = 8589934592\n"
    "max_nodes = 1\n"
    "allow = [\"" ID_A
    "\"]\n"
    "deny = []\n";

static void whole_file(void **state) {
    testenv t;
    atl_config *config;
    heard h;

    (void)state;
    testenv_init(&t);
    assert_int_equal(parse(&t, whole_text, &h, &config), ATLAS_OK);
    assert_int_equal(h.warnings, 1); /* schema, outside a section */
    assert_int_equal(h.line, 2);
    assert_int_equal(number(config, "network", "port"), 4001);
    assert_int_equal(number(config, "network", "ipv6"), 0);
    assert_int_equal(number(config, "stun", "timeout"), 2500);
    assert_int_equal(number(config, "transport", "enable_relay"), 1);
    assert_int_equal(number(config, "transport", "offer_relay"), 1);
    assert_int_equal(number(config, "transport", "relay_bandwidth_limit"), 2097152);
    assert_int_equal(number(config, "transport", "idle_timeout"), 45000);
    assert_int_equal(number(config, "transport", "presence_interval"), 250);
    assert_int_equal(number(config, "transport", "handshake_timeout"), 7125);
    assert_int_equal(number(config, "transport", "max_connections"), 99);
    assert_int_equal(number(config, "transport", "max_streams_per_conn"), 7);
    assert_int_equal(number(config, "security", "handshake_limit"), 500);
    assert_int_equal(number(config, "security", "max_clock_drift_secs"), 60);
    assert_true(number(config, "relay", "total_bandwidth") == UINT64_C(8589934592));
    assert_int_equal(number(config, "relay", "max_nodes"), 1);
    assert_int_equal(config->lists[ATL_LIST_RELAYS].count, 2);
    assert_string_equal(config->lists[ATL_LIST_RELAYS].items[0], RELAY_A);
    assert_int_equal(config->lists[ATL_LIST_RELAYS].line, 20);
    assert_int_equal(config->lists[ATL_LIST_BOOTSTRAP].count, 1);
    assert_int_equal(config->lists[ATL_LIST_STUN].count, 2);
    assert_string_equal(config->lists[ATL_LIST_STUN].items[1], "192.0.2.7");
    assert_int_equal(config->lists[ATL_LIST_ALLOW].count, 1);
    assert_int_equal(config->lists[ATL_LIST_DENY].count, 0);
    atl_config_free(&t.env, config);
    testenv_done(&t);
}

typedef struct row {
    const char *text;
    uint32_t line;
    const char *says; /* a part of the complaint */
} row;

static void complaints(const row *rows, size_t count, int32_t want) {
    testenv t;
    size_t i;

    testenv_init(&t);
    for (i = 0; i < count; i++) {
        atl_config *config;
        heard h;
        int32_t rv = parse(&t, rows[i].text, &h, &config);

        if (rv != want || h.line != rows[i].line || strstr(h.text, rows[i].says) == NULL) {
            fail_msg("row %u: %d, line %u: %s", (unsigned)i, rv, (unsigned)h.line, h.text);
        }
        assert_int_equal(h.errors > 0, want != ATLAS_OK);
        if (rv == ATLAS_OK) {
            assert_int_equal(h.warnings, 1);
            atl_config_free(&t.env, config);
        } else {
            assert_null(config);
        }
    }
    testenv_done(&t);
}

static const row wrong_rows[] = {
    {"[network]\nport = 65536\n", 2, "f:2: port: expected a number from 0 to 65535, found 65536"},
    {"[network]\nport = -1\n", 2, "found -1"},
    {"[network]\nport = 4001x\n", 2, "found 4001x"},
    {"[network]\nport = \"4001\"\n", 2, "found \"4001\""},
    {"[network]\nport = 4__1\n", 2, "found 4__1"},
    {"[network]\nport = 1.5\n", 2, "found 1.5"},
    {"[network]\nport = 0x10\n", 2, "found 0x10"},
    {"[network]\nport = 99999999999999999999999\n", 2, "expected a number"},
    {"[network]\nport =\n", 2, "found nothing"},
    {"[network]\nport = # 4001\n", 2, "found nothing"},
    {"[network]\nport = 1 2\n", 2, "found 2: more follows the value"},
    {"[network]\nport = \x01\x1b[31m\n", 2, "found ??[31m"},
    {"[transport]\nenable_relay = yes\n", 2, "expected true or false, found yes"},
    {"[transport]\nenable_relay = truer\n", 2, "expected true or false, found truer"},
    {"[transport]\nenable_relay = 1\n", 2, "expected true or false, found 1"},
    {"[transport]\nidle_timeout = 0.5\n", 2, "a number of seconds from 1 to 600, found 0.5"},
    {"[transport]\nhandshake_timeout = 1.0001\n", 2, "found 1.0001"},
    {"[transport]\nhandshake_timeout = 1.\n", 2, "found 1."},
    {"[transport]\nhandshake_timeout = .5\n", 2, "found .5"},
    {"[stun]\nservers = \"stun.example.org\"\n", 2, "expected an array of STUN servers in quotes"},
    {"[stun]\nservers = [stun.example.org]\n", 2, "an entry is not a quoted string"},
    {"[stun]\nservers = [\"a.example\"\n \"b.example\"]\n", 3,
     "found \"b.example\"]: a comma is missing"},
    {"[stun]\nservers = [\"a.example\",\n\n\"b.example]\n]\n", 4, "the string is not closed"},
    {"[stun]\nservers = [\"a.example\",\n", 3, "the array is not closed"},
    {"[stun]\nservers = [\"a.example\",\n\n[network]\nport = 1\n", 4, "found [network]: an entry"},
    {"[stun]\nservers = [,]\n", 2, "an entry is not a quoted string"},
    {"[stun]\nservers = [\"\"]\n", 2, "it is no STUN server"},
    {"[stun]\nservers = [\"a.example\"] x\n", 2, "found x: more follows"},
    {"[stun]\nservers = [\"a\\x\"]\n", 2, "after a backslash"},
    {"[stun]\nservers = [\"a\tb\"]\n", 2, "control character"},
    {"[stun]\nservers = [\"ok.example\",\n \"x:99999\"]\n", 3,
     "found \"x:99999\": it is no STUN server"},
    {"[network]\nrelays = [\"192.0.2.1:4001\"]\n", 2, "multiaddrs of relays"},
    {"[network]\nrelays = [\"" ID_A "\"]\n", 2, "transport of its own"},
    {"[network]\nrelays = [\"/ip4/192.0.2.1/udp/4001/quic-v1\"]\n", 2, "peer id is missing"},
    {"[network]\nrelays = [\"/ip4/192.0.2.1/tcp/4001/p2p/" ID_A "\"]\n", 2,
     "not one over which a node"},
    {"[network]\nrelays = [\"" RELAY_A "/p2p-circuit\"]\n", 2, "relays: expected"},
    {"[network]\nbootstrap = [\"/ip4/1.2.3/udp/1\"]\n", 2,
     "bootstrap: expected an array of multiaddrs of bootstrap nodes"},
    {"[relay]\ndeny = [\"12D3KooW\"]\n", 2, "deny: expected an array of peer ids"},
    {"[network]\nport = 1\n\nport = 2\n", 4, "port is given twice, in line 2 and here"},
    {"[network]\nport = 1\n[stun]\n[network]\nport = 1\n", 5, "given twice, in line 2"},
    {"[transport]\noffer_relay = true\nenable_relay = false\n", 2,
     "since enable_relay is false (line 3)"},
    {"[network]\nport\n", 2, "expected a section in brackets or key = value"},
    {"[network]\n= 3\n", 2, "expected a section in brackets or key = value"},
    {"[network]\nport: 3\n", 2, "expected a section in brackets or key = value"},
    {"[network]\na:b = 3\n", 2, "not the name of a key"},
    {"[network\nport = 1\n", 1, "not closed by ]"},
    {"[network] port = 1\n", 1, "more follows the section's name"},
    {"[other]\nx = [\n1,\n[network]\nport = 1\n", 2, "a bracket that opens here is not closed"},
    {"[network]\r\nport = x\r\n", 2, "found x"},
    {"\xef\xbb\xbf[network]\nport = x", 2, "found x"},
};

static void wrong_values(void **state) {
    (void)state;
    complaints(wrong_rows, ATL_COUNT(wrong_rows), ATLAS_ERR_CONFIG);
}

static void warnings(void **state) {
    static const row rows[] = {
        {"[network]\nprot = 1\n", 2, "f:2: unknown key prot in [network]; did you mean port?"},
        {"[network]\nPort = 1\n", 2, "did you mean port?"},
        {"[transport]\nenable-relay = 1\n", 2, "did you mean enable_relay?"},
        {"[transport]\nrelay_bandwith_limit = 1\n", 2, "did you mean relay_bandwidth_limit?"},
        {"[relay]\nbootstrap = [\n]\n", 2,
         "unknown key bootstrap in [relay]; it belongs in [network]"},
        {"[network]\n\nsomething_else = [ whatever\n]\n", 3,
         "unknown key something_else in [network]"},
        {"[netwrok]\nport = 1\n", 1, "section [netwrok] is ignored; did you mean [network]?"},
        {"[stun]\nservers = [\"a.example\", \"a.example\"]\n", 2, "is there twice"},
        {"[network]\na\x1b[31m = 1\n", 2, "unknown key a?[31m in"},
        {"# first\nport = x\n[network]\n", 2,
         "f:2: unknown key port outside a section; it belongs in [network]"},
        {"schema = [\n3,\n4]\n[other]\nx = 1\n", 1, "unknown key schema outside a section"},
        {"\na\x1b[31m = 1\n", 2, "unknown key a?[31m outside"},
        {"port 4001\n[network]\n", 1, "neither a section in brackets nor key = value"},
        {"= 4001\n", 1, "neither a section"},
    };

    (void)state;
    complaints(rows, ATL_COUNT(rows), ATLAS_OK);
}

static void silent_files(void **state) {
    static const char *const texts[] = {
        "",
        "\n\n",
        "\xef\xbb\xbf",
        "# only a comment",
        "[network]",
        "[network]\nport = 1", /* no newline at the end */
        "[other]\nthis is not even a line of INI\n= 1\n[]\n[[x]]\n",
        "[other]\nx = it's [ not closed\n[network]\nport = 0\n",
        "[network]\nport = 1\r\n\r\n[stun]\r\nservers = [\r\n\"a.example\"\r\n]\r\n",
        "[stun]\nservers = [] ; none\n",
        "[stun]\nservers = [ # none ]\n]\n",
    };
    testenv t;
    size_t i;

    (void)state;
    testenv_init(&t);
    for (i = 0; i < ATL_COUNT(texts); i++) {
        atl_config *config;
        heard h;
        int32_t rv = parse(&t, texts[i], &h, &config);

        if (rv != ATLAS_OK || h.errors + h.warnings != 0) {
            fail_msg("row %u: %d: %s", (unsigned)i, rv, h.text);
        }
        atl_config_free(&t.env, config);
    }
    testenv_done(&t);
}

static void nul_bytes_are_refused(void **state) {
    static const char text[] = "[network]\n# a\0b\nport = 1\n";
    testenv t;
    atl_config *config;
    heard h;

    (void)state;
    testenv_init(&t);
    assert_int_equal(parse_len(&t, text, sizeof(text) - 1, &h, &config), ATLAS_ERR_CONFIG);
    assert_int_equal(h.line, 2);
    assert_non_null(strstr(h.text, "NUL"));
    testenv_done(&t);
}

/* inih of Debian cuts lines at 200 bytes; ours are as long as they like. */
static void long_lines(void **state) {
    static char text[ATL_CONFIG_MAX_VALUE * 2];
    testenv t;
    atl_config *config;
    heard h;
    size_t len = 0;
    int i;

    (void)state;
    testenv_init(&t);
    len += (size_t)snprintf(text, sizeof(text), "[stun]%1000s# %01000d\nservers = [", "", 0);
    for (i = 0; i < ATL_CONFIG_MAX_ENTRIES; i++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\"server-%d.example.org:%d\",", i,
                                1000 + i);
    }
    len += (size_t)snprintf(text + len, sizeof(text) - len,
                            "]\n%1000sport = x\n[network]\nport = x\n", "");
    assert_int_equal(parse(&t, text, &h, &config), ATLAS_ERR_CONFIG);
    assert_int_equal(h.warnings, 1); /* port in [stun] */
    assert_int_equal(h.errors, 1);
    assert_int_equal(h.line, 5);
    text[len - 2] = '1';
    assert_int_equal(parse(&t, text, &h, &config), ATLAS_OK);
    assert_int_equal(config->lists[ATL_LIST_STUN].count, ATL_CONFIG_MAX_ENTRIES);
    assert_string_equal(config->lists[ATL_LIST_STUN].items[63], "server-63.example.org:1063");
    atl_config_free(&t.env, config);
    testenv_done(&t);
}

/* `count` times `unit` between `head` and `tail`. */
static char *repeated(const char *head, const char *unit, size_t count, const char *tail) {
    size_t unit_len = strlen(unit);
    char *text = malloc(strlen(head) + unit_len * count + strlen(tail) + 1);
    char *at = text;
    size_t i;

    assert_non_null(text);
    at = stpcpy(at, head);
    for (i = 0; i < count; i++) {
        memcpy(at, unit, unit_len);
        at += unit_len;
    }
    (void)stpcpy(at, tail);
    return text;
}

static void bounds(void **state) {
    static const struct {
        const char *head;
        const char *unit;
        size_t count;
        const char *tail;
        int32_t code;
        const char *says;
    } rows[] = {
        {"[stun]\nservers = [", "\"a.example\",", 65, "]\n", ATLAS_ERR_CONFIG,
         "more than 64 entries"},
        {"[stun]\nservers = [\"", "a", 2000, "\"]\n", ATLAS_ERR_CONFIG, "too long"},
        {"[stun]\nservers = [", "\n", ATL_CONFIG_MAX_VALUE, "]\n", ATLAS_ERR_CONFIG,
         "longer than 65536"},
        {"[network]\n", "k", 4000, " = 1\n", ATLAS_ERR_CONFIG, "not the name of a key"},
        {"[network]\n", "bad\n", 1000, "", ATLAS_ERR_CONFIG, "expected a section"},
        {"[", "n", 4000, "]\nx = 1\n", ATLAS_OK, ""},
        {"#", "n", ATL_CONFIG_MAX_FILE - 1, "", ATLAS_OK, ""},
        {"#", "n", ATL_CONFIG_MAX_FILE, "", ATLAS_ERR_TOO_LARGE, ""},
    };
    testenv t;
    size_t i;

    (void)state;
    testenv_init(&t);
    for (i = 0; i < ATL_COUNT(rows); i++) {
        char *text = repeated(rows[i].head, rows[i].unit, rows[i].count, rows[i].tail);
        atl_config *config;
        heard h;
        int32_t rv = parse(&t, text, &h, &config);

        if (rv != rows[i].code || strstr(h.text, rows[i].says) == NULL) {
            fail_msg("row %u: %d: %s", (unsigned)i, rv, h.text);
        }
        assert_true(h.errors + h.warnings <= ATL_CONFIG_MAX_COMPLAINTS);
        free(text);
        if (rv == ATLAS_OK) {
            atl_config_free(&t.env, config);
        }
    }
    testenv_done(&t);
}

static void every_allocation_fails_once(void **state) {
    static const char text[] =
        "[network]\nrelays = [\"" RELAY_A "\"]\n[stun]\nservers = [\"a.example\"]\n";
    testenv t;
    atl_config *config;
    heard h;
    size_t n;
    int32_t rv;

    (void)state;
    testenv_init(&t);
    for (n = 1;; n++) {
        testenv_fail_next(&t, n);
        rv = parse(&t, text, &h, &config);
        if (rv == ATLAS_OK) {
            break;
        }
        assert_int_equal(rv, ATLAS_ERR_NOMEM);
        assert_int_equal(t.live, 0);
    }
    assert_true(n > 4);
    atl_config_free(&t.env, config);
    testenv_done(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_file), cmocka_unit_test(wrong_values),
        cmocka_unit_test(warnings),   cmocka_unit_test(silent_files),
        cmocka_unit_test(long_lines), cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(bounds),     cmocka_unit_test(every_allocation_fails_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
