/* Inbound connections: what is allowed to begin one, and Retry under load. */
#include "quic/internal.h"
#include "quic/keys.h"

/* A Retry token lives this long: a client answers a Retry within its handshake. */
#define TOKEN_LIFETIME (10 * ATL_SECOND)
/* Handshakes in progress above which every newcomer must prove its address. */
#define HANDSHAKING_MAX 512

/* What a token is bound to. Behind a circuit the circuit is the address. */
static size_t address_bytes(const atl_qpath *path, uint8_t out[32]) {
    memset(out, 0, 32);
    if (path->circuit != NULL) {
        memcpy(out, path->circuit->rx_id, ATL_CID_LEN);
        return ATL_CID_LEN;
    }
    memcpy(out, path->remote.ip, 16);
    out[16] = (uint8_t)(path->remote.port >> 8);
    out[17] = (uint8_t)path->remote.port;
    return 18;
}

static void send_retry(atl_endpoint *ep, const atl_qpath *path, const ngtcp2_pkt_hd *hd) {
    uint8_t addr[32];
    uint8_t token[ATL_RETRY_TOKEN_MAX];
    uint8_t packet[512];
    ngtcp2_cid scid;
    size_t token_len;
    int64_t len;

    scid.datalen = ATL_CID_LEN;
    if (atl_random(ep->env, scid.data, ATL_CID_LEN) != ATLAS_OK ||
        atl_retry_token_make(ep->env, ep->retry_secret, addr, address_bytes(path, addr), &scid,
                             &hd->dcid, ep->loop->now, token, sizeof(token),
                             &token_len) != ATLAS_OK) {
        return;
    }
    len = atl_retry_packet(packet, sizeof(packet), hd->version, &hd->scid, &scid, &hd->dcid, token,
                           token_len);
    if (len > 0) {
        atl_send_on_path(ep, path, packet, (size_t)len);
        ep->stats.retries++;
    }
}

/* 1: go on, with the original id in *odcid when a token proves the address; 0: dropped or answered.
 */
static int check_token(atl_endpoint *ep, const atl_qpath *path, const ngtcp2_pkt_hd *hd,
                       ngtcp2_cid *odcid) {
    uint8_t addr[32];
    int32_t rv;

    odcid->datalen = 0;
    if (hd->tokenlen == 0) {
        if (atl_bucket_take(&ep->handshakes, ep->loop->now, 1) &&
            ep->handshaking < HANDSHAKING_MAX) {
            return 1;
        }
        send_retry(ep, path, hd);
        return 0;
    }
    rv = atl_retry_token_check(ep->retry_secret, hd->token, hd->tokenlen, addr,
                               address_bytes(path, addr), &hd->dcid, TOKEN_LIFETIME, ep->loop->now,
                               odcid);
    if (rv != ATLAS_OK) {
        ep->stats.bad_tokens++;
        return 0;
    }
    return 1;
}

static int32_t create(atl_endpoint *ep, const atl_qpath *path, const ngtcp2_pkt_hd *hd,
                      const ngtcp2_cid *odcid, atl_qconn **out) {
    ngtcp2_settings settings;
    ngtcp2_transport_params params;
    ngtcp2_callbacks callbacks;
    ngtcp2_path synthetic;
    ngtcp2_cid scid;
    atl_qconn *conn;
    int32_t rv = atl_qconn_alloc(ep, 1, path, &conn);

    if (rv != ATLAS_OK) {
        return rv;
    }
    scid.datalen = ATL_CID_LEN;
    if ((rv = atl_tls_server_new(ep->tls, &conn->tls.session)) != ATLAS_OK ||
        (rv = atl_endpoint_id_new(ep, ATL_ID_CONN, conn, scid.data)) != ATLAS_OK) {
        goto done;
    }
    atl_qconn_settings(conn, &settings, &params, ep->params.handshake_timeout);
    params.original_dcid = odcid->datalen > 0 ? *odcid : hd->dcid;
    params.original_dcid_present = 1;
    if (odcid->datalen > 0) {
        params.retry_scid = hd->dcid;
        params.retry_scid_present = 1;
        settings.token = hd->token;
        settings.tokenlen = hd->tokenlen;
        settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
    }
    atl_reset_token(ep->reset_secret, &scid, params.stateless_reset_token);
    params.stateless_reset_token_present = 1;
    synthetic = atl_path_synthetic(&conn->paths[0]);
    atl_qconn_fill_callbacks(&callbacks);
    if (ngtcp2_conn_server_new(&conn->quic, &hd->scid, &scid, &synthetic, hd->version, &callbacks,
                               &settings, &params, &ep->mem, conn) != 0) {
        atl_endpoint_id_remove(ep, scid.data);
        rv = ATLAS_ERR_NOMEM;
        goto done;
    }
    atl_tls_session_set_conn(conn->tls.session, conn->quic);
    conn->initial_hash = atl_initial_key(ep, hd->dcid.data, hd->dcid.datalen);
    rv = atl_idmap_add(&ep->initials, conn->initial_hash, ATL_ID_CONN, conn);
    if (rv != ATLAS_OK) {
        conn->initial_hash = 0;
        goto done;
    }
    *out = conn;
done:
    if (rv != ATLAS_OK) {
        atl_qconn_discard(conn);
    }
    return rv;
}

/* Says no without any state: an Initial packet with CONNECTION_CLOSE, far shorter than what it
 * answers. Silence would leave the other side to its handshake timeout and without a reason. */
static void refuse(atl_endpoint *ep, const atl_qpath *path, const ngtcp2_pkt_hd *hd, int32_t code) {
    const char *reason = atlas_error_text(code);
    uint8_t client[ATL_SECRET_LEN];
    uint8_t server[ATL_SECRET_LEN];
    uint8_t packet[512];
    uint8_t source[8];
    ngtcp2_crypto_ctx ctx;
    atl_packet_keys keys;
    ngtcp2_ssize len;

    ep->stats.dropped_limit++;
    if (path->circuit == NULL &&
        !atl_source_limit_take(ep->reset_limit, source, atl_addr_limit_key(&path->remote, source),
                               ep->loop->now)) {
        return;
    }
    if (atl_initial_secrets(&hd->dcid, client, server) != ATLAS_OK ||
        atl_packet_keys_derive(ep->env, ATL_CIPHER_AES_128_GCM, server, 1, &keys) != ATLAS_OK) {
        return;
    }
    atl_cipher_describe(ATL_CIPHER_AES_128_GCM, &ctx);
    len = ngtcp2_pkt_write_connection_close(
        packet, sizeof(packet), hd->version, &hd->scid, &hd->dcid, NGTCP2_CONNECTION_REFUSED,
        (const uint8_t *)reason, strlen(reason), atl_aead_encrypt, &ctx.aead, &keys.aead, keys.iv,
        atl_hp_mask, &ctx.hp, &keys.hp);
    atl_packet_keys_free(&keys);
    if (len > 0) {
        atl_send_on_path(ep, path, packet, (size_t)len);
    }
}

void atl_accept_packet(atl_endpoint *ep, const atl_qpath *path, const uint8_t *data, size_t len,
                       uint8_t ecn) {
    ngtcp2_pkt_hd hd;
    ngtcp2_cid odcid;
    atl_qconn *conn;
    int32_t rv;

    if (ep->freeing || ngtcp2_accept(&hd, data, len) != 0) {
        ep->stats.dropped_malformed++;
        return;
    }
    rv = ep->stats.conns >= ep->params.max_conns ? ATLAS_ERR_LIMIT : ATLAS_OK;
    if (rv == ATLAS_OK && ep->hooks.on_initial != NULL) {
        rv = ep->hooks.on_initial(ep->hooks.user, &path->remote, path->circuit);
    }
    if (rv != ATLAS_OK) {
        refuse(ep, path, &hd, rv);
        return;
    }
    ep->handshakes.rate = ep->params.handshake_limit;
    ep->handshakes.burst = ep->params.handshake_limit;
    if (!check_token(ep, path, &hd, &odcid)) {
        return;
    }
    if (create(ep, path, &hd, &odcid, &conn) != ATLAS_OK) {
        ep->stats.dropped_limit++;
        return;
    }
    atl_qconn_read(conn, path, data, len, ecn);
}
