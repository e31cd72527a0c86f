/* Peers and relays with certificates that are wrong, expired, not yet valid, unsigned, mismatched
 * or not there at all: as the one dialled, as the one who dials, and towards a relay. */
#include "hostile.h"

#include "quic/certificate.h"
#include "quic/tls_session.h"

#include <stdio.h>

#define DAY 86400

typedef struct evil_cert {
    const char *name;
    int64_t not_before; /* relative to now, seconds */
    int64_t not_after;
    int extension; /* 0: none, 1: of the node's key, 2: of another node's key for another
                      certificate, 3: signature spoilt */
    int none;      /* no certificate at all */
    int good;
} evil_cert;

static const evil_cert CERTS[] = {
    {"as ours", -DAY, DAY, 1, 0, 1},
    {"expired", -2 * DAY, -DAY, 1, 0, 0},
    {"not yet valid", DAY, 2 * DAY, 1, 0, 0},
    {"unsigned: without the extension", -DAY, DAY, 0, 0, 0},
    {"mismatched: another certificate's extension", -DAY, DAY, 2, 0, 0},
    {"a spoilt signature", -DAY, DAY, 3, 0, 0},
    {"no certificate", 0, 0, 0, 1, 0},
};

/* The extension that the case wants. */
static size_t make_extension(const evil_cert *cert, const atlas_key *key, const uint8_t *seed,
                             uint8_t out[512]) {
    uint8_t spki[ATL_CERTIFICATE_SPKI];
    uint8_t other[32] = {9};
    atl_writer w;

    atl_writer_init(&w, out, 512);
    atl_certificate_spki(cert->extension == 2 ? other : seed, spki);
    if (cert->extension != 0) {
        atl_certificate_extension(&w, key, 0, spki, sizeof(spki));
        assert_int_equal(w.error, ATLAS_OK);
    }
    if (cert->extension == 3) {
        out[w.len - 1] ^= 1;
    }
    return w.len;
}

/* Gives an endpoint another certificate than its own. */
static void put_certificate(atl_tls *tls, const evil_cert *cert, const atlas_key *key,
                            int64_t now) {
    atl_certificate_spec spec = {{7}, {1}, now + cert->not_before, now + cert->not_after};
    WOLFSSL_CTX *contexts[] = {tls->client, tls->server};
    uint8_t pkcs8[ATL_CERTIFICATE_PKCS8];
    uint8_t extension[512];
    uint8_t der[1024];
    size_t len;
    size_t i;

    if (cert->none) {
        /* a context that never had one; without a verify callback, since it is the enemy's */
        wolfSSL_CTX_free(tls->client);
        tls->client = wolfSSL_CTX_new(wolfTLSv1_3_client_method());
        assert_non_null(tls->client);
        wolfSSL_CTX_set_verify(tls->client, WOLFSSL_VERIFY_PEER, atl_tls_verify);
        assert_int_equal(wolfSSL_CTX_set_quic_method(tls->client, atl_tls_quic_method()),
                         WOLFSSL_SUCCESS);
        return;
    }
    len = make_extension(cert, key, spec.seed, extension);
    assert_int_equal(atl_certificate_build(&spec, extension, len, der, sizeof(der), &len),
                     ATLAS_OK);
    atl_certificate_pkcs8(spec.seed, pkcs8);
    for (i = 0; i < 2; i++) {
        assert_int_equal(
            wolfSSL_CTX_use_certificate_buffer(contexts[i], der, (long)len, WOLFSSL_FILETYPE_ASN1),
            WOLFSSL_SUCCESS);
        assert_int_equal(wolfSSL_CTX_use_PrivateKey_buffer(contexts[i], pkcs8, (long)sizeof(pkcs8),
                                                           WOLFSSL_FILETYPE_ASN1),
                         WOLFSSL_SUCCESS);
    }
}

static void spoil(sim_node *node, const evil_cert *cert) {
    put_certificate(atl_endpoint_tls(node->ctx->ep), cert, node->ctx->key,
                    atl_env_wall_ms(&node->ctx->env) / 1000);
}

/* The one dialled has it: the dial fails with the certificate's code, and says so. */
static void test_dialled(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(CERTS); i++) {
        static hostile_world w;

        if (CERTS[i].none) {
            continue; /* no TLS server is without */
        }
        printf("%s\n", CERTS[i].name);
        hostile_init(&w, 200 + i);
        spoil(&w.b, &CERTS[i]);
        assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
        assert_true(hostile_run(&w, 20, hostile_a_settled));
        assert_int_equal(w.a.connected, CERTS[i].good);
        if (!CERTS[i].good) {
            assert_int_equal(w.a.close_code, ATLAS_ERR_DIAL);
            assert_int_equal(w.a.first_attempt_code, ATLAS_ERR_CERTIFICATE);
            assert_int_equal(w.b.connected, 0);
        }
        hostile_done(&w);
    }
}

/* The one who dials has it: the other never hears of a connection; the dialler is told. */
static void test_dials(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(CERTS); i++) {
        static hostile_world w;

        printf("%s\n", CERTS[i].name);
        hostile_init(&w, 220 + i);
        spoil(&w.a, &CERTS[i]);
        assert_int_equal(sim_node_dial(&w.a, w.b.addr, 0), ATLAS_OK);
        assert_true(hostile_run(&w, 20, hostile_a_settled));
        assert_int_equal(w.a.connected, CERTS[i].good);
        hostile_run(&w, 1, NULL);
        assert_int_equal(w.b.connected, CERTS[i].good);
        if (!CERTS[i].good) {
            assert_int_equal(w.a.first_attempt_code, ATLAS_ERR_CERTIFICATE);
            assert_int_equal(hostile_stats(&w.b)->conns, 0);
        }
        hostile_done(&w);
    }
}

/* Towards a relay: none but a good one gets a control stream. Without any certificate a client may
 * connect and ask for the relay's health, but not announce. */
static void test_relay(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(CERTS); i++) {
        static hostile_world w;

        printf("%s\n", CERTS[i].name);
        hostile_init(&w, 240 + i);
        hostile_connect(&w);
        attacker_init(&w, 66);
        put_certificate(atl_endpoint_tls(w.x.node.ep), &CERTS[i], w.x.node.key,
                        atl_env_wall_ms(&w.x.node.env) / 1000);
        attacker_connect(&w.x, 0);
        if (CERTS[i].good || CERTS[i].none) {
            assert_int_equal(w.x.ready, 1);
            assert_int_equal(
                attacker_request(&w.x, "CONNECT", "/.well-known/atlas/relay/", "atlas-relay"),
                ATLAS_OK);
            hostile_run(&w, 1, NULL);
            assert_int_equal(w.x.status, CERTS[i].good ? 200 : 401);
        } else {
            assert_int_equal(w.x.ready, 0);
            assert_int_equal(w.x.closed, 1);
            assert_int_equal(w.x.why.code, ATLAS_ERR_CERTIFICATE);
        }
        assert_int_equal(hostile_relay_stats(&w).nodes, 1);
        hostile_check_served(&w);
        hostile_done(&w);
    }
}

/* A relay with a bad one is not used, and the node says why. */
static int b_lost(void *w) {
    return ((hostile_world *)w)->b.relay_state == ATLAS_RELAY_LOST;
}

static void test_bad_relay(void **state) {
    size_t i;

    (void)state;
    for (i = 0; i < ATL_COUNT(CERTS); i++) {
        static hostile_world w;

        if (CERTS[i].none || CERTS[i].good) {
            continue;
        }
        hostile_init(&w, 260 + i);
        spoil(&w.relay, &CERTS[i]);
        assert_int_equal(atlas_relay_presence(w.b.ctx, 1), ATLAS_OK);
        assert_true(hostile_run(&w, 20, b_lost));
        assert_int_equal(w.b.relay_code, ATLAS_ERR_CERTIFICATE);
        assert_int_equal(w.b.relay_announced, 0);
        hostile_done(&w);
    }
}

/* A good certificate of somebody else: not the one dialled. */
static void test_other_peer(void **state) {
    static hostile_world w;
    char target[ATLAS_MULTIADDR_MAX];
    char *id;

    (void)state;
    hostile_init(&w, 280);
    snprintf(target, sizeof(target), "%s", w.b.addr);
    id = strstr(target, "/p2p/") + 5;
    snprintf(id, sizeof(target) - (size_t)(id - target), "%s", atlas_self_id(w.relay.ctx));
    assert_int_equal(sim_node_dial(&w.a, target, 3000), ATLAS_OK);
    assert_true(hostile_run(&w, 20, hostile_a_settled));
    assert_int_equal(w.a.connected, 0);
    assert_int_equal(w.a.close_code, ATLAS_ERR_DIAL);
    assert_int_equal(w.a.first_attempt_code, ATLAS_ERR_PEER_MISMATCH);
    hostile_run(&w, 1, NULL);
    assert_int_equal(w.b.connected, 0);
    hostile_done(&w);
}

int main(void) {
    static const struct CMUnitTest TESTS[] = {
        cmocka_unit_test(test_dialled),    cmocka_unit_test(test_dials),
        cmocka_unit_test(test_relay),      cmocka_unit_test(test_bad_relay),
        cmocka_unit_test(test_other_peer),
    };

    return cmocka_run_group_tests_name("hostile certificates", TESTS, NULL, NULL);
}
