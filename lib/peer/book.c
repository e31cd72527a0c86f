#include "peer/book.h"

#include <string.h>

int32_t atl_book_init(atl_book *book, atl_env *env) {
    book->env = env;
    atl_list_init(&book->peers);
    return atl_hashmap_init(&book->map, env);
}

static void drop_addr(atl_book *book, atl_book_peer *peer) {
    atl_list *node = atl_list_pop(&peer->addrs);

    peer->count--;
    atl_free(book->env, ATL_CONTAINER(node, atl_book_addr, node));
}

static void drop_peer(atl_book *book, atl_book_peer *peer) {
    while (peer->count > 0) {
        drop_addr(book, peer);
    }
    atl_hashmap_remove(&book->map, &peer->hash);
    atl_list_remove(&peer->node);
    atl_free(book->env, peer);
}

void atl_book_free(atl_book *book) {
    while (!atl_list_empty(&book->peers)) {
        drop_peer(book, ATL_CONTAINER(book->peers.next, atl_book_peer, node));
    }
    atl_hashmap_free(&book->map);
}

static int32_t find_or_add(atl_book *book, const atl_peer_id *id, atl_book_peer **out) {
    atl_hash_node *found = atl_hashmap_get(&book->map, id, sizeof(*id));
    atl_book_peer *peer;
    int32_t rv;

    if (found != NULL) {
        *out = ATL_CONTAINER(found, atl_book_peer, hash);
        return ATLAS_OK;
    }
    peer = atl_calloc(book->env, 1, sizeof(*peer));
    if (peer == NULL) {
        return ATLAS_ERR_NOMEM;
    }
    peer->id = *id;
    atl_list_init(&peer->addrs);
    rv = atl_hashmap_add(&book->map, &peer->hash, &peer->id, sizeof(peer->id));
    if (rv != ATLAS_OK) {
        atl_free(book->env, peer);
        return rv;
    }
    atl_list_append(&book->peers, &peer->node);
    if (book->map.count > ATL_BOOK_PEERS) {
        drop_peer(book, ATL_CONTAINER(book->peers.next, atl_book_peer, node));
    }
    *out = peer;
    return ATLAS_OK;
}

static int same_transport(const atl_maddr *a, const atl_maddr *b) {
    if (a->host_kind != b->host_kind || a->port != b->port) {
        return 0;
    }
    return a->host_kind == ATL_HOST_IP ? atl_addr_equal(&a->addr, &b->addr)
                                       : strcmp(a->host, b->host) == 0;
}

int32_t atl_book_add(atl_book *book, const atl_peer_id *id, const atl_maddr *addr) {
    atl_book_addr *entry;
    atl_book_peer *peer;
    atl_list *node;
    int32_t rv = find_or_add(book, id, &peer);

    if (rv != ATLAS_OK) {
        return rv;
    }
    for (node = peer->addrs.next; node != &peer->addrs; node = node->next) {
        if (same_transport(&ATL_CONTAINER(node, atl_book_addr, node)->addr, addr)) {
            atl_list_remove(node);
            atl_list_append(&peer->addrs, node);
            return ATLAS_OK;
        }
    }
    entry = atl_calloc(book->env, 1, sizeof(*entry));
    if (entry == NULL) {
        if (peer->count == 0) {
            drop_peer(book, peer);
        }
        return ATLAS_ERR_NOMEM;
    }
    entry->addr = *addr;
    entry->addr.has_peer = 1;
    entry->addr.peer = *id;
    atl_list_append(&peer->addrs, &entry->node);
    peer->count++;
    if (peer->count > ATL_BOOK_ADDRS) {
        drop_addr(book, peer);
    }
    return ATLAS_OK;
}

const atl_book_peer *atl_book_get(const atl_book *book, const atl_peer_id *peer) {
    atl_hash_node *found = atl_hashmap_get(&book->map, peer, sizeof(*peer));

    return found == NULL ? NULL : ATL_CONTAINER(found, atl_book_peer, hash);
}
