/* From ngtcp2's and TLS's errors to ours. */
#include "quic/internal.h"

#include <stdio.h>

#define CRYPTO_ERROR_FIRST 0x100u
#define CRYPTO_ERROR_LAST 0x1ffu

/* A node that takes no connection says why in the words of the error code. */
static int32_t refusal(const char *reason) {
    static const int32_t CODES[] = {ATLAS_ERR_LIMIT, ATLAS_ERR_SHUTDOWN, ATLAS_ERR_RELAY_DRAINING};
    size_t i;

    for (i = 0; i < ATL_COUNT(CODES); i++) {
        if (strcmp(reason, atlas_error_text(CODES[i])) == 0) {
            return CODES[i];
        }
    }
    return ATLAS_ERR_REFUSED;
}

static void describe_peer_close(atl_qconn *conn) {
    const ngtcp2_ccerr *ccerr = ngtcp2_conn_get_ccerr2(conn->quic);
    char text[ATL_REASON_MAX + 1];
    size_t len = ccerr->reasonlen < ATL_REASON_MAX ? ccerr->reasonlen : ATL_REASON_MAX;
    int32_t code = ATLAS_ERR_TRANSPORT;
    int app = ccerr->type == NGTCP2_CCERR_TYPE_APPLICATION;

    if (len > 0) {
        memcpy(text, ccerr->reason, len);
    }
    text[len] = '\0';
    if (app || ccerr->error_code == NGTCP2_NO_ERROR) {
        code = ATLAS_ERR_PEER_CLOSED;
    } else if (ccerr->error_code >= CRYPTO_ERROR_FIRST && ccerr->error_code <= CRYPTO_ERROR_LAST) {
        code = atl_tls_alert_error((uint8_t)(ccerr->error_code - CRYPTO_ERROR_FIRST));
    } else if (ccerr->error_code == NGTCP2_CONNECTION_REFUSED) {
        code = refusal(text);
    } else if (ccerr->error_code == NGTCP2_APPLICATION_ERROR) {
        /* what an application close looks like before the handshake is confirmed (RFC 9000
         * section 10.2.3) */
        code = ATLAS_ERR_PEER_CLOSED;
    }
    if (len == 0 && code != ATLAS_ERR_TRANSPORT && code != ATLAS_ERR_PEER_CLOSED) {
        (void)snprintf(text, sizeof(text), "the peer refused the handshake: %s",
                       atlas_error_text(code));
    } else if (len == 0) {
        (void)snprintf(text, sizeof(text), "peer closed with %s error 0x%llx",
                       app ? "application" : "QUIC", (unsigned long long)ccerr->error_code);
    }
    conn->why.by_peer = 1;
    conn->why.is_app = (uint8_t)app;
    conn->why.error_code = ccerr->error_code;
    atl_qconn_fail(conn, code, 0, text);
}

static void fail_crypto(atl_qconn *conn) {
    const char *text = NULL;
    int32_t code = atl_tls_error(conn->tls.session, &text);
    uint8_t alert = ngtcp2_conn_get_tls_alert2(conn->quic);

    /* wolfSSL sometimes reports an error with alert 0; the peer gets handshake_failure then */
    ngtcp2_ccerr_set_tls_alert(&conn->ccerr, alert == 0 ? 40 : alert, NULL, 0);
    conn->why.error_code = conn->ccerr.error_code;
    atl_qconn_fail(conn, code == ATLAS_OK ? ATLAS_ERR_HANDSHAKE : code, 1,
                   text == NULL ? "TLS handshake failed" : text);
}

static void fail_other(atl_qconn *conn, int rv) {
    ngtcp2_ccerr_set_liberr(&conn->ccerr, rv, NULL, 0);
    conn->why.error_code = conn->ccerr.error_code;
    atl_qconn_fail(conn, rv == NGTCP2_ERR_NOMEM ? ATLAS_ERR_NOMEM : ATLAS_ERR_TRANSPORT, 1,
                   ngtcp2_strerror(rv));
}

void atl_qconn_fail_liberr(atl_qconn *conn, int rv) {
    switch (rv) {
    case NGTCP2_ERR_DRAINING:
        if (conn->why.code == ATLAS_ERR_STATELESS_RESET) {
            atl_qconn_fail(conn, ATLAS_ERR_STATELESS_RESET, 0,
                           "the peer no longer knows this connection");
            break;
        }
        describe_peer_close(conn);
        break;
    case NGTCP2_ERR_CRYPTO:
        fail_crypto(conn);
        break;
    case NGTCP2_ERR_IDLE_CLOSE:
        atl_qconn_fail(conn, ATLAS_ERR_IDLE_TIMEOUT, 0, "nothing heard within the idle timeout");
        break;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
        atl_qconn_fail(conn, ATLAS_ERR_HANDSHAKE_TIMEOUT, 0,
                       "no answer within the handshake timeout");
        break;
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
    case NGTCP2_ERR_VERSION_NEGOTIATION_FAILURE:
        atl_qconn_fail(conn, ATLAS_ERR_VERSION, 0, "the peer does not speak QUIC version 1");
        break;
    case NGTCP2_ERR_DROP_CONN:
    case NGTCP2_ERR_RETRY:
    case NGTCP2_ERR_CLOSING:
        atl_qconn_fail(conn, ATLAS_ERR_HANDSHAKE, 0, "the first packet did not hold");
        break;
    case NGTCP2_ERR_CALLBACK_FAILURE:
        if (conn->state >= ATL_CONN_CLOSING) {
            break; /* the callback has said why */
        }
        fail_other(conn, rv);
        break;
    default:
        fail_other(conn, rv);
    }
}
