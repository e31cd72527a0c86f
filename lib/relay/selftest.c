/* A circuit from this node to itself, and nonces on it both ways. */
#include "relay/selftest.h"

#include "relay/client_state.h"

#include <sodium.h>
#include <string.h>

#define NONCES 4u /* each way */
#define SPACING (25 * ATL_MS)
#define NONCE_LEN 1200u /* what a relay that carries QUIC must carry */
/* How long the last nonce is waited for: as long as a relay may hold a packet back for its
 * bandwidth, several times, and more where the relay is far. */
#define PATIENCE (400 * ATL_MS)
#define PATIENCE_RTTS 3

#define OUT 0u /* from the end that asked to the one that was asked */
#define BACK 1u

struct atl_relay_selftest {
    atl_relay_client *client;
    atl_relay_selftest_done done;
    void *user;
    atl_relay_request *request; /* until it is answered */
    atl_relay_circuit *ends[2]; /* by the way that begins there; NULL: not there yet, or gone */
    uint8_t seeds[2 * NONCES][randombytes_SEEDBYTES]; /* of the nonces' contents */
    uint64_t sent_at[2 * NONCES];                     /* 0: not yet */
    uint8_t came[2 * NONCES];
    uint32_t rounds; /* nonces sent each way */
    uint8_t running; /* 0: its upcall is due */
    uint8_t altered; /* something else came in a nonce's stead */
    uint64_t deadline;
    atl_timer timer;
    atl_task deliver;
    atl_relay_selftest_result result;
};

/* ---- the end ---- */

static void on_deliver(atl_task *task) {
    atl_relay_selftest *test = task->user;
    atl_relay_selftest_result result = test->result;
    atl_relay_selftest_done done = test->done;
    void *user = test->user;

    test->client->selftest = NULL;
    atl_free(test->client->env, test);
    done(user, &result);
}

/* Gives everything back to the client, except the test itself. */
static void let_go(atl_relay_selftest *test) {
    atl_relay_request *request = test->request;
    uint32_t i;

    test->running = 0;
    test->request = NULL;
    atl_timer_clear(test->client->loop, &test->timer);
    if (request != NULL) {
        atl_relay_request_cancel(request);
    }
    for (i = 0; i < 2; i++) {
        atl_relay_circuit *end = test->ends[i];

        if (end != NULL) {
            test->ends[i] = NULL;
            end->own = 0;
            atl_relay_circuit_close(&end->base, ATLAS_ERR_RELAY_CIRCUIT_CLOSED);
        }
    }
}

static void finish(atl_relay_selftest *test, int32_t code, const char *text) {
    if (!test->running) {
        return;
    }
    let_go(test);
    test->result.code = code;
    test->result.text = text;
    if (code != ATLAS_OK) {
        test->result.rtt = 0;
    }
    atl_post_work(test->client->loop, &test->deliver);
}

static uint32_t count(const atl_relay_selftest *test, uint32_t way) {
    uint32_t n = 0;
    uint32_t i;

    for (i = 0; i < NONCES; i++) {
        n += test->came[way * NONCES + i];
    }
    return n;
}

/* Nothing more is waited for. */
static void judge(atl_relay_selftest *test) {
    uint32_t out = count(test, OUT);
    uint32_t back = count(test, BACK);

    if (out > 0 && back > 0) {
        finish(test, ATLAS_OK, "packets pass through the relay both ways");
    } else if (test->altered) {
        finish(test, ATLAS_ERR_SELFTEST, "the relay alters what it carries");
    } else if (out > 0 || back > 0) {
        finish(test, ATLAS_ERR_SELFTEST, "the relay carries packets one way only");
    } else {
        finish(test, ATLAS_ERR_SELFTEST, "the relay pairs circuits and carries no packets");
    }
}

/* ---- nonces ---- */

/* The first byte says which one it is; its first two bits are 00. */
static void make_nonce(const atl_relay_selftest *test, uint32_t index, uint8_t out[NONCE_LEN]) {
    randombytes_buf_deterministic(out, NONCE_LEN, test->seeds[index]);
    out[0] = (uint8_t)index;
}

static void send_round(atl_relay_selftest *test) {
    uint8_t nonce[NONCE_LEN];
    uint32_t way;

    for (way = 0; way < 2; way++) {
        uint32_t index = way * NONCES + test->rounds;

        make_nonce(test, index, nonce);
        atl_circuit_send_raw(&test->ends[way]->base, nonce, sizeof(nonce));
        test->sent_at[index] = test->client->loop->now;
        test->result.sent++;
    }
    test->rounds++;
}

static void on_raw(void *user, atl_circuit *circuit, const uint8_t *data, size_t len) {
    const atl_relay_client *client = user;
    atl_relay_selftest *test = client->selftest;
    uint32_t index = data[0];
    const atl_relay_circuit *end;
    uint8_t nonce[NONCE_LEN];
    uint64_t rtt;

    if (test == NULL || !test->running || index >= 2 * NONCES || test->sent_at[index] == 0 ||
        test->came[index]) {
        return;
    }
    /* what was sent at one end arrives at the other */
    end = test->ends[index < NONCES ? BACK : OUT];
    make_nonce(test, index, nonce);
    if (end == NULL || circuit != &end->base || len != NONCE_LEN ||
        memcmp(data, nonce, NONCE_LEN) != 0) {
        test->altered = 1;
        return;
    }
    rtt = client->loop->now - test->sent_at[index];
    test->came[index] = 1;
    test->result.came++;
    if (test->result.rtt == 0 || rtt < test->result.rtt) {
        test->result.rtt = rtt > 0 ? rtt : 1;
    }
    if (test->result.came == 2 * NONCES) {
        judge(test);
    }
}

static void on_timer(atl_timer *timer, uint64_t now) {
    atl_relay_selftest *test = timer->user;
    uint64_t wait = SPACING;

    if (now >= test->deadline && test->ends[OUT] == NULL) {
        finish(test, ATLAS_ERR_TIMEOUT, "the relay did not make a circuit in time");
        return;
    }
    if (now >= test->deadline || test->rounds == NONCES) {
        judge(test);
        return;
    }
    send_round(test);
    if (test->rounds == NONCES) {
        wait = PATIENCE_RTTS * atl_relay_client_rtt(test->client);
        wait = wait < PATIENCE ? PATIENCE : wait;
    }
    atl_timer_set(test->client->loop, timer,
                  now + wait < test->deadline ? now + wait : test->deadline);
}

/* ---- the circuit ---- */

static void take(atl_relay_selftest *test, uint32_t way, atl_relay_circuit *circuit) {
    circuit->own = 1;
    circuit->base.on_raw = on_raw;
    test->ends[way] = circuit;
}

static void on_ready(void *user, atl_relay_request *request, atl_circuit *circuit) {
    atl_relay_selftest *test = user;

    (void)request;
    test->request = NULL;
    take(test, OUT, ATL_CONTAINER(circuit, atl_relay_circuit, base));
    if (test->ends[BACK] == NULL) {
        finish(test, ATLAS_ERR_SELFTEST,
               "the relay says that it has paired a circuit, and has not asked the other end");
        return;
    }
    on_timer(&test->timer, test->client->loop->now);
}

/* The relay's own words would not outlive the call. */
static void on_failed(void *user, atl_relay_request *request, int32_t code, const char *text) {
    atl_relay_selftest *test = user;

    (void)request;
    (void)text;
    test->request = NULL;
    if (code == ATLAS_ERR_RELAY_NOT_REGISTERED) {
        finish(test, ATLAS_ERR_SELFTEST, "the relay has forgotten that this node is announced");
    } else {
        finish(test, code, atlas_error_text(code));
    }
}

int32_t atl_relay_selftest_incoming(atl_relay_client *client, const atl_relay_incoming *msg,
                                    atl_relay_circuit **out) {
    atl_relay_selftest *test = client->selftest;
    int32_t rc;

    if (test == NULL || test->request == NULL || test->ends[BACK] != NULL) {
        return ATLAS_ERR_RELAY_REFUSED;
    }
    rc = atl_relay_circuits_open(client, msg, out);
    if (rc == ATLAS_OK) {
        take(test, BACK, *out);
    }
    return rc;
}

void atl_relay_selftest_lost(atl_relay_client *client, const atl_relay_circuit *circuit,
                             int32_t code) {
    atl_relay_selftest *test = client->selftest;
    uint32_t i;

    if (test == NULL || !test->running) {
        return;
    }
    for (i = 0; i < 2; i++) {
        if (circuit != NULL && test->ends[i] == circuit) {
            test->ends[i] = NULL;
        }
    }
    code = code == ATLAS_OK ? ATLAS_ERR_RELAY_CIRCUIT_CLOSED : code;
    finish(test, code, atlas_error_text(code));
}

/* ---- the test ---- */

int32_t atl_relay_selftest_start(atl_relay_client *client, uint64_t timeout,
                                 atl_relay_selftest_done done, void *user,
                                 atl_relay_selftest **out) {
    static const atl_relay_request_ops ops = {on_ready, on_failed};
    atl_relay_selftest *test;
    int32_t rc;

    if (client->selftest != NULL) {
        return ATLAS_ERR_AGAIN;
    }
    if (client->link != ATL_LINK_UP || !client->announced || client->drains) {
        return ATLAS_ERR_STATE;
    }
    test = atl_calloc(client->env, 1, sizeof(*test));
    if (test == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    test->client = client;
    test->done = done;
    test->user = user;
    test->running = 1;
    test->deadline = client->loop->now + timeout;
    atl_timer_init(&test->timer, on_timer, test);
    atl_task_init(&test->deliver, on_deliver, test);
    rc = atl_random(client->env, test->seeds, sizeof(test->seeds));
    if (rc == ATLAS_OK) {
        /* later than the test's own timer, which ends it */
        rc = atl_relay_client_request(client, &client->config.self, 2 * timeout, &ops, test,
                                      &test->request);
    }
    if (rc != ATLAS_OK) {
        atl_free(client->env, test);
        return rc;
    }
    client->selftest = test;
    atl_timer_set(client->loop, &test->timer, test->deadline);
    *out = test;
    return ATLAS_OK;
}

void atl_relay_selftest_cancel(atl_relay_selftest *test) {
    atl_relay_client *client = test->client;

    if (test->running) {
        let_go(test);
    }
    atl_task_cancel(&test->deliver);
    client->selftest = NULL;
    atl_free(client->env, test);
}

void atl_relay_selftest_free(atl_relay_client *client) {
    if (client->selftest != NULL) {
        atl_relay_selftest_cancel(client->selftest);
    }
}
