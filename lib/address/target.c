/* Dial targets: what libatlas can dial, out of a multiaddr. The multiaddr itself is read in
 * multiaddr.c. */
#include "address/multiaddr.h"

#include <stdio.h>
#include <string.h>

#include <atlas/address.h>

static int at_end(const atl_reader *reader) {
    return reader->left == 0;
}

/* Takes the next component when it is of this kind. The bytes were checked before. */
static int accept(atl_reader *reader, uint32_t code, atl_component *out) {
    atl_reader copy = *reader;

    if (at_end(reader) || atl_multiaddr_next(&copy, out) != ATLAS_OK || out->code != code) {
        return 0;
    }
    *reader = copy;
    return 1;
}

static int accept_peer(atl_reader *reader, atl_peer_id *out) {
    atl_component component;

    return accept(reader, ATL_MA_P2P, &component) &&
           atl_peer_id_decode(component.value.data, component.value.left, out) == ATLAS_OK;
}

static int accept_name(atl_reader *reader, uint32_t code, uint8_t kind, atl_maddr *maddr) {
    atl_component component;

    if (!accept(reader, code, &component) || component.value.left >= sizeof(maddr->host)) {
        return 0;
    }
    memcpy(maddr->host, component.value.data, component.value.left);
    maddr->host_kind = kind;
    return 1;
}

static int accept_host(atl_reader *reader, atl_maddr *maddr) {
    atl_component component;

    if (accept(reader, ATL_MA_IP4, &component)) {
        atl_addr_set4(&maddr->addr, component.value.data, 0);
        maddr->host_kind = ATL_HOST_IP;
        return 1;
    }
    if (accept(reader, ATL_MA_IP6, &component)) {
        atl_addr_set6(&maddr->addr, component.value.data, 0, 0);
        maddr->host_kind = ATL_HOST_IP;
        return 1;
    }
    return accept_name(reader, ATL_MA_DNS, ATL_HOST_DNS, maddr) ||
           accept_name(reader, ATL_MA_DNS4, ATL_HOST_DNS4, maddr) ||
           accept_name(reader, ATL_MA_DNS6, ATL_HOST_DNS6, maddr);
}

/* HOST/udp/PORT[/quic-v1] or nothing. */
static int32_t take_transport(atl_reader *reader, atl_maddr *maddr) {
    atl_component component;

    if (!accept_host(reader, maddr)) {
        return ATLAS_OK;
    }
    if (!accept(reader, ATL_MA_UDP, &component) ||
        atl_read_u16(&component.value, &maddr->port) != ATLAS_OK || maddr->port == 0) {
        return ATLAS_ERR_UNSUPPORTED;
    }
    if (maddr->host_kind == ATL_HOST_IP) {
        maddr->addr.port = maddr->port;
        if (atl_addr_is_unspecified(&maddr->addr) || atl_addr_is_multicast(&maddr->addr)) {
            return ATLAS_ERR_UNSUPPORTED;
        }
    }
    maddr->quic = (uint8_t)accept(reader, ATL_MA_QUIC_V1, &component);
    /* bare UDP names a server (STUN), never a peer */
    return maddr->quic || at_end(reader) ? ATLAS_OK : ATLAS_ERR_UNSUPPORTED;
}

int32_t atl_maddr_from_bytes(const uint8_t *data, size_t len, atl_maddr *out) {
    char text[ATLAS_MULTIADDR_MAX];
    atl_component component;
    atl_reader reader;
    atl_maddr maddr;
    int32_t rc = atl_multiaddr_decode(data, len, text, sizeof(text));

    if (rc != ATLAS_OK) {
        return rc;
    }
    memset(&maddr, 0, sizeof(maddr));
    atl_reader_init(&reader, data, len);
    rc = take_transport(&reader, &maddr);
    if (rc != ATLAS_OK) {
        return rc;
    }
    maddr.has_peer = (uint8_t)accept_peer(&reader, &maddr.peer);
    if (maddr.has_peer && accept(&reader, ATL_MA_P2P_CIRCUIT, &component)) {
        maddr.has_relay = 1;
        maddr.relay = maddr.peer;
        memset(&maddr.peer, 0, sizeof(maddr.peer));
        maddr.has_peer = (uint8_t)accept_peer(&reader, &maddr.peer);
    }
    if (!at_end(&reader)) {
        return ATLAS_ERR_UNSUPPORTED;
    }
    *out = maddr;
    return ATLAS_OK;
}

int32_t atl_maddr_parse(const char *text, atl_maddr *out) {
    uint8_t bytes[ATL_MULTIADDR_BYTES];
    atl_maddr maddr;
    size_t len;
    int32_t rc;

    if (text[0] != '/') {
        memset(&maddr, 0, sizeof(maddr));
        maddr.has_peer = 1;
        rc = atl_peer_id_parse(text, strnlen(text, ATLAS_MULTIADDR_MAX), &maddr.peer);
        if (rc == ATLAS_OK) {
            *out = maddr;
        }
        return rc;
    }
    rc = atl_multiaddr_encode(text, bytes, sizeof(bytes), &len);
    return rc == ATLAS_OK ? atl_maddr_from_bytes(bytes, len, out) : rc;
}

/* ---- to text ---- */

static int32_t copy_text(const char *text, char *buf, size_t cap) {
    size_t size = strlen(text) + 1;

    if (size > cap) {
        return ATLAS_ERR_BUFFER;
    }
    memcpy(buf, text, size);
    return ATLAS_OK;
}

/* Longest: "/dns4/", a name, "/udp/65535/quic-v1". */
static void transport_text(const atl_maddr *maddr, char out[ATLAS_MULTIADDR_MAX]) {
    static const char *const NAMES[] = {"", "", "dns", "dns4", "dns6"};
    char ip[ATLAS_ADDR_MAX];
    const char *name = NAMES[maddr->host_kind];
    const char *host = maddr->host;

    out[0] = '\0';
    if (maddr->host_kind == ATL_HOST_NONE) {
        return;
    }
    if (maddr->host_kind == ATL_HOST_IP) {
        atl_addr addr = maddr->addr;

        addr.scope = 0; /* means something on this host only */
        atl_addr_ip_text(&addr, ip);
        host = ip;
        name = addr.family == 4 ? "ip4" : "ip6";
    }
    (void)snprintf(out, ATLAS_MULTIADDR_MAX, "/%s/%s/udp/%u%s", name, host, (unsigned)maddr->port,
                   maddr->quic ? "/quic-v1" : "");
}

int32_t atl_maddr_transport_text(const atl_maddr *maddr, char *buf, size_t cap) {
    char text[ATLAS_MULTIADDR_MAX];

    transport_text(maddr, text);
    return copy_text(text, buf, cap);
}

static void append_peer(const atl_peer_id *id, const char *suffix, char text[ATLAS_MULTIADDR_MAX]) {
    char id_text[ATLAS_PEER_ID_MAX];
    size_t len = strlen(text);

    atl_peer_id_text(id, id_text);
    (void)snprintf(text + len, ATLAS_MULTIADDR_MAX - len, "/p2p/%s%s", id_text, suffix);
}

int32_t atl_maddr_text(const atl_maddr *maddr, char *buf, size_t cap) {
    char text[ATLAS_MULTIADDR_MAX];

    transport_text(maddr, text);
    if (maddr->has_relay) {
        append_peer(&maddr->relay, "/p2p-circuit", text);
    }
    if (maddr->has_peer) {
        append_peer(&maddr->peer, "", text);
    }
    return copy_text(text, buf, cap);
}

int32_t atlas_target_parse(const char *text, atlas_target_info *out) {
    atlas_target_info info;
    atl_maddr maddr;
    int32_t rc;

    if (text == NULL || out == NULL || out->size != sizeof(*out)) {
        return ATLAS_ERR_INVALID;
    }
    rc = atl_maddr_parse(text, &maddr);
    if (rc != ATLAS_OK) {
        return rc;
    }
    if (!maddr.has_peer) {
        return ATLAS_ERR_ADDRESS;
    }
    memset(&info, 0, sizeof(info));
    info.size = sizeof(info);
    info.path = ATLAS_PATH_NONE;
    atl_peer_id_text(&maddr.peer, info.peer);
    if (maddr.has_relay) {
        info.path = ATLAS_PATH_RELAY;
        atl_peer_id_text(&maddr.relay, info.relay);
    } else if (maddr.host_kind != ATL_HOST_NONE) {
        info.path = ATLAS_PATH_DIRECT;
    }
    transport_text(&maddr, info.transport);
    *out = info;
    return ATLAS_OK;
}
