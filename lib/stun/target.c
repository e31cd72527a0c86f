#include "stun/target.h"

#include <string.h>

static int32_t parse_multiaddr(const char *text, atl_stun_target *out) {
    atl_maddr maddr;

    if (atl_maddr_parse(text, &maddr) != ATLAS_OK || maddr.has_relay || maddr.port == 0) {
        return ATLAS_ERR_ADDRESS;
    }
    out->port = maddr.port;
    switch (maddr.host_kind) {
    case ATL_HOST_IP:
        out->addr = maddr.addr;
        out->addr.port = maddr.port;
        out->family = maddr.addr.family;
        return ATLAS_OK;
    case ATL_HOST_DNS:
        break;
    case ATL_HOST_DNS4:
        out->family = 4;
        break;
    case ATL_HOST_DNS6:
        out->family = 6;
        break;
    default:
        return ATLAS_ERR_ADDRESS;
    }
    memcpy(out->host, maddr.host, sizeof(out->host));
    return ATLAS_OK;
}

static int32_t parse_host_port(const char *text, atl_stun_target *out) {
    size_t len = strlen(text);
    int32_t rc;

    if (len == 0) {
        return ATLAS_ERR_ADDRESS;
    }
    if (atl_addr_parse_ip(text, len, ATL_STUN_PORT, &out->addr) == ATLAS_OK) {
        out->port = ATL_STUN_PORT;
        out->family = out->addr.family;
        return ATLAS_OK;
    }
    rc = atl_host_port_split(text, out->host, sizeof(out->host), &out->port);
    if (rc != ATLAS_OK) {
        return ATLAS_ERR_ADDRESS;
    }
    if (atl_addr_parse_ip(out->host, strlen(out->host), out->port, &out->addr) == ATLAS_OK) {
        out->family = out->addr.family;
        return ATLAS_OK;
    }
    if (out->port == 0) {
        /* nothing but a name: its SRV record says where, else the default port */
        out->srv = 1;
        out->port = ATL_STUN_PORT;
    }
    return ATLAS_OK;
}

int32_t atl_stun_target_parse(const char *text, atl_stun_target *out) {
    atl_stun_target target;
    int32_t rc;

    memset(&target, 0, sizeof(target));
    rc = text[0] == '/' ? parse_multiaddr(text, &target) : parse_host_port(text, &target);
    if (rc == ATLAS_OK && target.addr.family != 0 &&
        (atl_addr_is_unspecified(&target.addr) || atl_addr_is_multicast(&target.addr))) {
        rc = ATLAS_ERR_ADDRESS;
    }
    if (rc == ATLAS_OK) {
        *out = target;
    }
    return rc;
}
