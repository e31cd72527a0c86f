#include "relay/registry.h"

#include <string.h>

/* Registrations from one IPv4 address or one IPv6 /64. */
struct atl_address_count {
    atl_hash_node by_key;
    uint64_t n;
    uint8_t key[8];
};

int32_t atl_registry_init(atl_registry *registry, atl_env *env, const atl_relay_limits *limits) {
    memset(registry, 0, sizeof(*registry));
    registry->env = env;
    registry->limits = limits;
    atl_list_init(&registry->order);
    if (atl_hashmap_init(&registry->nodes, env) != ATLAS_OK ||
        atl_hashmap_init(&registry->addresses, env) != ATLAS_OK) {
        return ATLAS_ERR_RANDOM;
    }
    return ATLAS_OK;
}

void atl_registry_free(atl_registry *registry) {
    atl_hashmap_free(&registry->nodes);
    atl_hashmap_free(&registry->addresses);
}

/* ---- counts per address ---- */

static int32_t count_get(atl_registry *registry, const atl_addr *from, atl_address_count **out) {
    uint8_t key[8] = {0};
    size_t len = atl_addr_limit_key(from, key);
    atl_hash_node *node = atl_hashmap_get(&registry->addresses, key, len);
    atl_address_count *count;
    int32_t rc;

    if (node != NULL) {
        *out = ATL_CONTAINER(node, atl_address_count, by_key);
        return ATLAS_OK;
    }
    count = atl_calloc(registry->env, 1, sizeof(*count));
    if (count == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    memcpy(count->key, key, sizeof(key));
    rc = atl_hashmap_add(&registry->addresses, &count->by_key, count->key, len);
    if (rc != ATLAS_OK) {
        atl_free(registry->env, count);
        return rc;
    }
    *out = count;
    return ATLAS_OK;
}

static void count_put(atl_registry *registry, atl_address_count *count) {
    if (count->n == 0) {
        atl_hashmap_remove(&registry->addresses, &count->by_key);
        atl_free(registry->env, count);
    }
}

/* ---- registrations ---- */

static int32_t check_room(const atl_registry *registry, const atl_addr *from,
                          const atl_address_count *count) {
    if (registry->nodes.count >= registry->limits->max_nodes) {
        return ATL_REGISTRY_FULL;
    }
    if (from->family == 4 && count->n >= registry->limits->max_per_ipv4) {
        return ATL_REGISTRY_FULL_IPV4;
    }
    if (from->family != 4 && count->n >= registry->limits->max_per_ipv6_64) {
        return ATL_REGISTRY_FULL_IPV6;
    }
    return ATLAS_OK;
}

int32_t atl_registry_add(atl_registry *registry, atl_registration *reg, const atl_peer_id *id,
                         const atl_addr *from, uint64_t now) {
    atl_address_count *count;
    int32_t rc;

    if (atl_registry_find(registry, id) != NULL) {
        return ATLAS_ERR_EXISTS;
    }
    rc = count_get(registry, from, &count);
    if (rc != ATLAS_OK) {
        return rc;
    }
    rc = check_room(registry, from, count);
    if (rc == ATLAS_OK) {
        reg->id = *id;
        rc = atl_hashmap_add(&registry->nodes, &reg->by_id, reg->id.key, sizeof(reg->id.key));
    }
    if (rc != ATLAS_OK) {
        count_put(registry, count);
        return rc;
    }
    count->n++;
    reg->address = count;
    reg->announced = now;
    atl_list_append(&registry->order, &reg->by_time);
    return ATLAS_OK;
}

void atl_registry_touch(atl_registry *registry, atl_registration *reg, uint64_t now) {
    atl_list_remove(&reg->by_time);
    atl_list_append(&registry->order, &reg->by_time);
    reg->announced = now;
}

int32_t atl_registry_move(atl_registry *registry, atl_registration *reg, const atl_addr *from) {
    atl_address_count *old = reg->address;
    atl_address_count *count;
    int32_t rc = count_get(registry, from, &count);

    if (rc != ATLAS_OK) {
        return rc;
    }
    count->n++;
    reg->address = count;
    old->n--;
    count_put(registry, old);
    return ATLAS_OK;
}

void atl_registry_remove(atl_registry *registry, atl_registration *reg) {
    if (reg->address == NULL) {
        return;
    }
    reg->address->n--;
    count_put(registry, reg->address);
    reg->address = NULL;
    atl_hashmap_remove(&registry->nodes, &reg->by_id);
    atl_list_remove(&reg->by_time);
}

int atl_registration_active(const atl_registration *reg) {
    return reg->address != NULL;
}

atl_registration *atl_registry_find(const atl_registry *registry, const atl_peer_id *id) {
    atl_hash_node *node = atl_hashmap_get(&registry->nodes, id->key, sizeof(id->key));

    return node == NULL ? NULL : ATL_CONTAINER(node, atl_registration, by_id);
}

size_t atl_registry_count(const atl_registry *registry) {
    return registry->nodes.count;
}

static uint64_t expires(const atl_registry *registry, const atl_registration *reg) {
    return reg->announced + ATL_RELAY_MISSED * registry->limits->presence_interval;
}

uint64_t atl_registry_deadline(const atl_registry *registry) {
    if (atl_list_empty(&registry->order)) {
        return ATLAS_NO_DEADLINE;
    }
    return expires(registry, ATL_CONTAINER(registry->order.next, atl_registration, by_time));
}

atl_registration *atl_registry_expired(const atl_registry *registry, uint64_t now) {
    atl_registration *reg;

    if (atl_list_empty(&registry->order)) {
        return NULL;
    }
    reg = ATL_CONTAINER(registry->order.next, atl_registration, by_time);
    return expires(registry, reg) <= now ? reg : NULL;
}
