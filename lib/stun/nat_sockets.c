#include <string.h>

#include "stun/nat_internal.h"

#define RX_BATCH 8
#define RX_ROUNDS 4

/* A request that we sent ourselves, or an answer. */
static void receive_one(atl_nat_socket *slot, const atl_rx *rx) {
    atl_nat_sockets *sockets = slot->owner;
    atl_stun_header header;

    if (rx->error == 0 && atl_stun_parse_header(rx->data, rx->len, &header) == ATLAS_OK &&
        header.cls == ATL_STUN_REQUEST) {
        if (atl_stun_client_knows(sockets->client, header.id)) {
            sockets->looped(sockets->user, (size_t)(slot - sockets->slots));
        }
        return;
    }
    (void)atl_stun_client_on_datagram(sockets->client, rx);
}

static void receive_train(atl_nat_socket *slot, const atl_rx *train) {
    size_t step = train->segment > 0 ? train->segment : train->len;
    size_t at = 0;

    do {
        atl_rx one = *train;

        if (train->error == 0) {
            one.data = train->data + at;
            one.len = train->len - at < step ? train->len - at : step;
            one.segment = one.len;
        }
        receive_one(slot, &one);
        at += step;
    } while (train->error == 0 && at < train->len);
}

static void on_ready(void *user, atl_udp *udp, uint32_t events) {
    atl_nat_socket *slot = user;
    const atl_io *io = slot->owner->agent->config.io;
    atl_rx batch[RX_BATCH];
    size_t round;
    size_t n;
    size_t i;

    for (round = 0; round < RX_ROUNDS && (events & ATLAS_FD_READ) != 0; round++) {
        if (io->udp_recv(io->impl, udp, batch, RX_BATCH, &n) != ATLAS_OK || n == 0) {
            return;
        }
        for (i = 0; i < n; i++) {
            receive_train(slot, &batch[i]);
        }
    }
}

static int32_t send_from(void *user, const atl_addr *local, const atl_addr *remote,
                         const uint8_t *data, size_t len) {
    atl_nat_sockets *sockets = user;
    const atl_io *io = sockets->agent->config.io;
    size_t i;

    for (i = 0; i < ATL_COUNT(sockets->slots); i++) {
        const atl_nat_socket *slot = &sockets->slots[i];
        atl_tx tx;
        size_t sent = 0;

        if (slot->udp == NULL || slot->port != local->port) {
            continue;
        }
        memset(&tx, 0, sizeof(tx));
        tx.data = data;
        tx.len = len;
        tx.segment = len;
        tx.remote = *remote;
        return io->udp_send(io->impl, slot->udp, &tx, 1, &sent);
    }
    return ATLAS_ERR_FAMILY;
}

void atl_nat_sockets_init(atl_nat_sockets *sockets, atl_stun_agent *agent,
                          void (*looped)(void *user, size_t index), void *user) {
    size_t i;

    memset(sockets, 0, sizeof(*sockets));
    sockets->agent = agent;
    sockets->looped = looped;
    sockets->user = user;
    for (i = 0; i < ATL_COUNT(sockets->slots); i++) {
        sockets->slots[i].owner = sockets;
    }
}

int32_t atl_nat_sockets_open(atl_nat_sockets *sockets, size_t index, uint8_t family) {
    const atl_stun_agent_config *config = &sockets->agent->config;
    atl_nat_socket *slot = &sockets->slots[index];
    atl_udp *udp = NULL;
    atl_addr addr;
    int32_t rc = config->local(config->user, family, &addr);

    if (rc == ATLAS_OK && sockets->client == NULL) {
        rc = atl_stun_client_new(config->loop, send_from, sockets, &sockets->client);
    }
    if (rc != ATLAS_OK) {
        return rc;
    }
    addr.port = 0;
    rc = config->io->udp_open(config->io->impl, &addr, ATL_UDP_PLAIN, on_ready, slot, &udp);
    if (rc != ATLAS_OK) {
        return rc;
    }
    config->io->udp_local(config->io->impl, udp, &addr);
    slot->udp = udp;
    slot->port = addr.port;
    return ATLAS_OK;
}

void atl_nat_sockets_close(atl_nat_sockets *sockets) {
    const atl_io *io = sockets->agent->config.io;
    size_t i;

    atl_stun_client_free(sockets->client);
    sockets->client = NULL;
    for (i = 0; i < ATL_COUNT(sockets->slots); i++) {
        if (sockets->slots[i].udp != NULL) {
            io->udp_close(io->impl, sockets->slots[i].udp);
            sockets->slots[i].udp = NULL;
        }
    }
}

int32_t atl_nat_sockets_ask(atl_nat_sockets *sockets, size_t index, atl_stun_ask *ask,
                            atl_stun_done done, void *user, atl_stun_txn **out) {
    const atl_nat_socket *slot = &sockets->slots[index];

    if (slot->udp == NULL) {
        return ATLAS_ERR_FAMILY;
    }
    memset(&ask->local, 0, sizeof(ask->local));
    ask->local.family = ask->remote.family;
    ask->local.port = slot->port;
    return atl_stun_client_ask(sockets->client, ask, done, user, out);
}
