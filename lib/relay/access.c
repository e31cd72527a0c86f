#include "relay/access.h"

#include <string.h>

typedef struct member {
    atl_hash_node node;
    atl_peer_id id;
} member;

int32_t atl_access_init(atl_access *access, atl_env *env) {
    memset(access, 0, sizeof(*access));
    access->env = env;
    if (atl_hashmap_init(&access->allowed, env) != ATLAS_OK ||
        atl_hashmap_init(&access->denied, env) != ATLAS_OK) {
        return ATLAS_ERR_RANDOM;
    }
    return ATLAS_OK;
}

static void free_list(atl_env *env, atl_hashmap *list) {
    atl_hash_node *node;

    while ((node = atl_hashmap_any(list)) != NULL) {
        atl_hashmap_remove(list, node);
        atl_free(env, ATL_CONTAINER(node, member, node));
    }
    atl_hashmap_free(list);
}

void atl_access_free(atl_access *access) {
    free_list(access->env, &access->allowed);
    free_list(access->env, &access->denied);
}

static int32_t add(atl_env *env, atl_hashmap *list, const atl_peer_id *id) {
    member *one = atl_calloc(env, 1, sizeof(*one));
    int32_t rc;

    if (one == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    one->id = *id;
    rc = atl_hashmap_add(list, &one->node, one->id.key, sizeof(one->id.key));
    if (rc != ATLAS_OK) {
        atl_free(env, one);
    }
    return rc == ATLAS_ERR_EXISTS ? ATLAS_OK : rc;
}

int32_t atl_access_allow(atl_access *access, const atl_peer_id *id) {
    return add(access->env, &access->allowed, id);
}

int32_t atl_access_deny(atl_access *access, const atl_peer_id *id) {
    return add(access->env, &access->denied, id);
}

int atl_access_listed(const atl_access *access, const atl_peer_id *id) {
    if (atl_hashmap_get(&access->denied, id->key, sizeof(id->key)) != NULL) {
        return 0;
    }
    return access->allowed.count == 0 ||
           atl_hashmap_get(&access->allowed, id->key, sizeof(id->key)) != NULL;
}

int32_t atl_access_check(const atl_access *access, uint32_t what, const atl_peer_id *peer,
                         const atl_peer_id *target, const atl_addr *from) {
    char peer_text[ATLAS_PEER_ID_MAX];
    char target_text[ATLAS_PEER_ID_MAX];
    char addr_text[ATLAS_ADDR_MAX];
    int32_t rc;

    if (!atl_access_listed(access, peer) ||
        (target != NULL && !atl_access_listed(access, target))) {
        return ATLAS_ERR_RELAY_NOT_AUTHORISED;
    }
    if (access->policy == NULL) {
        return ATLAS_OK;
    }
    atl_peer_id_text(peer, peer_text);
    if (target != NULL) {
        atl_peer_id_text(target, target_text);
    }
    atl_addr_text(from, addr_text);
    rc = access->policy(access->policy_user, what, peer_text, target != NULL ? target_text : NULL,
                        addr_text);
    return rc < 0 ? rc : ATLAS_OK;
}
