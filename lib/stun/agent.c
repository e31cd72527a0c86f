#include "stun/agent.h"

#include "stun/internal.h"
#include "stun/probe.h"

#define LOCAL_ADDRS_MAX 32

int32_t atl_stun_agent_new(const atl_stun_agent_config *config, atl_stun_agent **out) {
    atl_env *env = config->loop->env;
    atl_stun_agent *agent = atl_calloc(env, 1, sizeof(*agent));
    int32_t rc;

    if (agent == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    agent->config = *config;
    atl_list_init(&agent->probes);
    rc = atl_stun_client_new(config->loop, config->send, config->user, &agent->client);
    if (rc == ATLAS_OK) {
        rc = atl_stun_server_new(config->loop, config->send, config->user, &agent->server);
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
    while (!atl_list_empty(&agent->probes)) {
        atl_stun_probe_free(atl_stun_probe_of(agent->probes.next));
    }
    atl_stun_client_free(agent->client);
    atl_stun_server_free(agent->server);
    atl_free(agent->config.loop->env, agent);
}

void atl_stun_agent_on_datagram(atl_stun_agent *agent, const atl_rx *rx) {
    if (!atl_stun_client_on_datagram(agent->client, rx) && agent->serving) {
        atl_stun_server_on_datagram(agent->server, rx);
    }
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
