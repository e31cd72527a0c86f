/* What a behaviour means for a node: the kind, who is reached, and that it is all said. */
#include "stun/nat_internal.h"

#include "test_stun_world.h"

static const char *const KINDS[] = {
    "",         "no NAT", "full-cone", "address-restricted", "port-restricted", "carrier-grade",
    "symmetric"};

static atl_nat_facts facts(uint32_t mapping, uint32_t filtering) {
    atl_nat_facts f;

    memset(&f, 0, sizeof(f));
    f.family = 6;
    f.mapping = mapping;
    f.filtering = filtering;
    return f;
}

/* The table of pairs that were measured with real NATs: symmetric with port-restricted, with
 * carrier-grade and with symmetric do not meet; all others do. */
static void pairs_agree(void **state) {
    uint32_t mapping;
    uint32_t filtering;

    (void)state;
    for (mapping = 0; mapping <= 4; mapping++) {
        for (filtering = 0; filtering <= 4; filtering++) {
            atl_nat_facts f = facts(mapping, filtering);
            uint32_t kind = atl_nat_kind(&f);
            uint32_t reaches = 0xffffffff;
            uint32_t perhaps = 0xffffffff;

            atl_nat_reaches(&f, &reaches, &perhaps);
            assert_int_equal(reaches & perhaps, 0);
            assert_int_equal((reaches | perhaps) & ~0x7eu, 0);
            /* hosts that admit strangers are always reached */
            assert_int_equal(reaches & 0x0e, 0x0e);
            if (kind == ATLAS_NAT_KIND_SYMMETRIC) {
                assert_int_equal(reaches, 0x0e);
            } else if (kind == ATLAS_NAT_KIND_PORT_RESTRICTED) {
                assert_int_equal(reaches, 0x3e);
            } else if (kind != ATLAS_NAT_KIND_UNKNOWN) {
                assert_int_equal(reaches, 0x7e);
            }
            assert_int_equal(perhaps != 0, kind == ATLAS_NAT_KIND_UNKNOWN);
        }
    }
}

static void verdicts(void **state) {
    static const struct {
        uint32_t mapping;
        uint32_t filtering;
        const char *words;
    } rows[] = {
        {4, 1, "IPv4: behind no NAT; every peer that has UDP is reached directly"},
        {1, 1, "IPv4: behind a full-cone NAT; every peer that has UDP is reached directly"},
        {1, 2,
         "IPv4: behind an address-restricted NAT; every peer that has UDP is reached directly"},
        {1, 3,
         "IPv4: behind a port-restricted NAT; peers behind no NAT, full-cone, address-restricted, "
         "port-restricted and carrier-grade NATs are reached directly, those behind symmetric ones "
         "only through a relay"},
        {3, 3,
         "IPv4: behind a symmetric NAT; peers behind no NAT, full-cone and address-restricted NATs "
         "are reached directly, those behind port-restricted, carrier-grade and symmetric ones "
         "only "
         "through a relay"},
        {4, 3,
         "IPv4: behind no NAT, but a firewall that admits only who was written to; peers behind no "
         "NAT, full-cone, address-restricted, port-restricted and carrier-grade NATs are reached "
         "directly, those behind symmetric ones only through a relay"},
    };
    char text[ATL_NAT_TEXT];
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(rows); i++) {
        atl_nat_facts f = facts(rows[i].mapping, rows[i].filtering);

        f.family = 4;
        atl_nat_verdict_text(&f, text);
        assert_string_equal(text, rows[i].words);
    }
}

/* Every kind of peer is named in every sentence but where all are reached. */
static void sentences(void **state) {
    uint32_t mapping;
    uint32_t filtering;
    uint32_t kind;

    (void)state;
    for (mapping = 0; mapping <= 4; mapping++) {
        for (filtering = 0; filtering <= 4; filtering++) {
            atl_nat_facts f = facts(mapping, filtering);
            char text[ATL_NAT_TEXT];
            uint32_t reaches;
            uint32_t perhaps;

            atl_nat_reaches(&f, &reaches, &perhaps);
            atl_nat_verdict_text(&f, text);
            assert_int_equal(strncmp(text, "IPv6: behind ", 13), 0);
            assert_true(strlen(text) < ATL_NAT_TEXT - 1);
            for (kind = 1; kind <= 6 && reaches != 0x7e; kind++) {
                assert_non_null(strstr(strstr(text, "; "), KINDS[kind]));
            }
            assert_int_equal(strstr(text, "perhaps those") != NULL, perhaps != 0);
            assert_int_equal(strstr(text, "only through a relay") != NULL,
                             (reaches | perhaps) != 0x7e);
        }
    }
}

static void blocked(void **state) {
    atl_nat_facts f = facts(0, 0);
    char text[ATL_NAT_TEXT];
    uint32_t reaches;
    uint32_t perhaps;

    (void)state;
    f.code = ATLAS_ERR_STUN_TIMEOUT;
    assert_int_equal(atl_nat_kind(&f), ATLAS_NAT_KIND_BLOCKED);
    atl_nat_reaches(&f, &reaches, &perhaps);
    assert_int_equal(reaches | perhaps, 0);
    atl_nat_verdict_text(&f, text);
    assert_string_equal(text,
                        "IPv6: no server answered; if that is because UDP is blocked, no peer "
                        "is reached directly");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_agree),
        cmocka_unit_test(verdicts),
        cmocka_unit_test(sentences),
        cmocka_unit_test(blocked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
