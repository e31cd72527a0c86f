#include "stun/agent.h"

#include "stun/internal.h"
#include "stun/nat.h"
#include "stun/probe.h"

#include <string.h>

#define LOCAL_ADDRS_MAX 32

/* The server's answers leave from the address that was asked, or from another of its four. */
static int32_t server_send(void *user, const atl_addr *local, const atl_addr *remote,
                           const uint8_t *data, size_t len) {
    atl_stun_agent *agent = user;
    atl_stun_alternate *alternate = agent->alternate[remote->family == 6];
    int32_t rv = ATLAS_OK;

    if (alternate != NULL && atl_stun_alternate_send(alternate, local, remote, data, len, &rv)) {
        return rv;
    }
    return agent->config.send(agent->config.user, local, remote, data, len);
}

int32_t atl_stun_agent_new(const atl_stun_agent_config *config, atl_stun_agent **out) {
    atl_env *env = config->loop->env;
    atl_stun_agent *agent = atl_calloc(env, 1, sizeof(*agent));
    int32_t rc;

    if (agent == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    agent->config = *config;
    atl_list_init(&agent->probes);
    atl_list_init(&agent->nats);
    rc = atl_stun_client_new(config->loop, config->send, config->user, &agent->client);
    if (rc == ATLAS_OK) {
        rc = atl_stun_server_new(config->loop, server_send, agent, &agent->server);
    }
    if (rc != ATLAS_OK) {
        atl_stun_agent_free(agent);
        return rc;
    }
    *out = agent;
    return ATLAS_OK;
}

void atl_stun_agent_free(atl_stun_agent *agent) {
    if (agent == NULL) {
        return;
    }
    while (!atl_list_empty(&agent->nats)) {
        atl_nat_free(atl_nat_of(agent->nats.next));
    }
    while (!atl_list_empty(&agent->probes)) {
        atl_stun_probe_free(atl_stun_probe_of(agent->probes.next));
    }
    atl_stun_alternate_free(agent->alternate[0]);
    atl_stun_alternate_free(agent->alternate[1]);
    atl_stun_client_free(agent->client);
    atl_stun_server_free(agent->server);
    atl_free(agent->config.loop->env, agent);
}

void atl_stun_agent_on_datagram(atl_stun_agent *agent, const atl_rx *rx) {
    if (!atl_stun_client_on_datagram(agent->client, rx) && agent->serving) {
        atl_stun_server_on_datagram(agent->server, rx);
    }
}

static void on_alternate(void *user, const atl_rx *rx) {
    atl_stun_agent *agent = user;

    if (agent->serving) {
        atl_stun_server_on_datagram(agent->server, rx);
    }
}

/* The pair for a second address, checked. */
static int32_t make_pair(const atl_stun_agent *agent, const atl_addr *alternate,
                         const atl_addr *bound, atl_stun_pair *out) {
    atl_stun_pair pair;

    pair.primary = *bound;
    pair.alternate = *alternate;
    if (pair.alternate.port == 0) {
        pair.alternate.port = (uint16_t)(bound->port < UINT16_MAX ? bound->port + 1 : 1024);
    }
    if (atl_addr_is_unspecified(bound)) {
        int32_t rc = atl_stun_alternate_primary(agent->config.io, alternate, &pair.primary);

        if (rc != ATLAS_OK) {
            return rc;
        }
        pair.primary.port = bound->port;
    }
    if (pair.alternate.port == pair.primary.port ||
        memcmp(pair.alternate.ip, pair.primary.ip, sizeof(pair.primary.ip)) == 0) {
        return ATLAS_ERR_INVALID;
    }
    *out = pair;
    return ATLAS_OK;
}

int32_t atl_stun_agent_set_alternate(atl_stun_agent *agent, const atl_addr *alternate) {
    const atl_stun_alternate_config config = {agent->config.loop, agent->config.io, agent,
                                              on_alternate};
    atl_stun_alternate **slot = &agent->alternate[alternate->family == 6];
    atl_stun_alternate *opened = NULL;
    atl_stun_pair pair;
    atl_addr bound;
    int32_t rc;

    rc = agent->config.local(agent->config.user, alternate->family, &bound);
    if (rc != ATLAS_OK) {
        return ATLAS_ERR_FAMILY;
    }
    rc = make_pair(agent, alternate, &bound, &pair);
    if (rc != ATLAS_OK) {
        return rc;
    }
    /* the same port may be asked for again */
    atl_stun_alternate_free(*slot);
    *slot = NULL;
    (void)atl_stun_server_set_pair(agent->server, alternate->family, NULL);
    rc = atl_stun_alternate_new(&config, &bound, &pair, &opened);
    if (rc != ATLAS_OK) {
        return rc;
    }
    *slot = opened;
    agent->second[alternate->family == 6] = pair.alternate;
    return atl_stun_server_set_pair(agent->server, alternate->family, &pair);
}

int32_t atl_stun_agent_send_alternate(atl_stun_agent *agent, const atl_addr *remote,
                                      const uint8_t *data, size_t len) {
    size_t which = remote->family == 6;
    int32_t rv = ATLAS_OK;

    if (remote->family == 0 || agent->alternate[which] == NULL ||
        !atl_stun_alternate_send(agent->alternate[which], &agent->second[which], remote, data, len,
                                 &rv)) {
        return ATLAS_ERR_NOT_FOUND;
    }
    return rv;
}

void atl_stun_agent_set_server(atl_stun_agent *agent, int on) {
    agent->serving = on;
}

atl_stun_server *atl_stun_agent_server(atl_stun_agent *agent) {
    return agent->server;
}

atl_stun_client *atl_stun_agent_client(atl_stun_agent *agent) {
    return agent->client;
}

void atl_stun_agent_cancel_all(atl_stun_agent *agent) {
    atl_list *node;

    /* ends the probes that they have made */
    for (node = agent->nats.next; node != &agent->nats; node = node->next) {
        atl_nat_cancel(atl_nat_of(node));
    }
    for (node = agent->probes.next; node != &agent->probes; node = node->next) {
        atl_stun_probe_cancel(atl_stun_probe_of(node));
    }
}

size_t atl_stun_agent_probes(const atl_stun_agent *agent) {
    const atl_list *node;
    size_t n = 0;

    for (node = agent->probes.next; node != &agent->probes; node = node->next) {
        n++;
    }
    for (node = agent->nats.next; node != &agent->nats; node = node->next) {
        n++;
    }
    return n;
}

static int32_t any_local(const atl_stun_agent *agent, atl_addr *out) {
    const atl_stun_agent_config *config = &agent->config;
    atl_addr addrs[LOCAL_ADDRS_MAX];
    atl_addr bound;
    size_t n = config->io->local_addrs(config->io->impl, addrs, LOCAL_ADDRS_MAX);
    size_t i;

    for (i = 0; i < n && i < LOCAL_ADDRS_MAX; i++) {
        if (config->local(config->user, addrs[i].family, &bound) == ATLAS_OK &&
            (atl_addr_is_unspecified(&bound) ||
             __builtin_memcmp(bound.ip, addrs[i].ip, sizeof(bound.ip)) == 0)) {
            addrs[i].port = bound.port;
            *out = addrs[i];
            return ATLAS_OK;
        }
    }
    return ATLAS_ERR_UNREACHABLE;
}

int32_t atl_stun_local_for(const atl_stun_agent *agent, const atl_addr *remote, atl_addr *out) {
    const atl_stun_agent_config *config = &agent->config;
    atl_addr bound;
    atl_addr source;
    int32_t rc;

    if (remote == NULL) {
        return any_local(agent, out);
    }
    rc = config->local(config->user, remote->family, &bound);
    if (rc != ATLAS_OK) {
        return ATLAS_ERR_FAMILY;
    }
    rc = config->io->local_for(config->io->impl, remote, &source);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (!atl_addr_is_unspecified(&bound)) {
        source = bound;
    }
    source.port = bound.port;
    *out = source;
    return ATLAS_OK;
}
