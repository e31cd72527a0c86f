/* The address book: direct addresses of peers that the application told us. At most 16 a peer and
 * 1024 peers; the oldest goes. */
#ifndef ATL_PEER_BOOK_H
#define ATL_PEER_BOOK_H

#include "address/multiaddr.h"
#include "base/hashmap.h"
#include "base/list.h"

#define ATL_BOOK_ADDRS 16
#define ATL_BOOK_PEERS 1024

typedef struct atl_book_addr {
    atl_list node; /* oldest first */
    atl_maddr addr;
} atl_book_addr;

typedef struct atl_book_peer {
    atl_list node; /* oldest first */
    atl_hash_node hash;
    atl_peer_id id;
    atl_list addrs;
    size_t count;
} atl_book_peer;

typedef struct atl_book {
    atl_env *env;
    atl_hashmap map;
    atl_list peers;
} atl_book;

int32_t atl_book_init(atl_book *book, atl_env *env);
void atl_book_free(atl_book *book);
/* Adding an address again makes it the newest. ATLAS_ERR_NOMEM. */
int32_t atl_book_add(atl_book *book, const atl_peer_id *peer, const atl_maddr *addr);
/* The peer's entry, or NULL. */
const atl_book_peer *atl_book_get(const atl_book *book, const atl_peer_id *peer);

#endif
