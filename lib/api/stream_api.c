/* atlas/peer.h: streams. */
#include "api/context.h"
#include "peer/stream.h"

#define APP_CODE_MAX ((UINT64_C(1) << 62) - 1)

static int32_t enter(const atlas_stream *stream) {
    return stream == NULL ? ATLAS_ERR_INVALID : atl_ctx_enter(stream->conn->peers->ctx);
}

static int32_t leave(const atlas_stream *stream, int32_t rv) {
    atl_ctx_leave(stream->conn->peers->ctx);
    return rv;
}

int32_t atlas_stream_open(atlas_conn *conn, uint32_t uni, const atlas_stream_callbacks *callbacks,
                          void *user, atlas_stream **out) {
    int32_t rv = conn == NULL ? ATLAS_ERR_INVALID : atl_ctx_enter(conn->peers->ctx);

    if (rv != ATLAS_OK) {
        return rv;
    }
    rv = uni > 1 || callbacks == NULL || out == NULL
             ? ATLAS_ERR_INVALID
             : atl_stream_open(conn, uni, callbacks, user, out);
    atl_ctx_leave(conn->peers->ctx);
    return rv;
}

int32_t atlas_stream_set_callbacks(atlas_stream *stream, const atlas_stream_callbacks *callbacks,
                                   void *user) {
    int32_t rv = enter(stream);

    return rv != ATLAS_OK ? rv : atl_stream_set_callbacks(stream, callbacks, user);
}

atlas_conn *atlas_stream_conn(const atlas_stream *stream) {
    return stream == NULL ? NULL : stream->conn;
}

int64_t atlas_stream_id(const atlas_stream *stream) {
    return stream == NULL ? -1 : stream->id;
}

int32_t atlas_stream_write(atlas_stream *stream, const void *data, size_t len, uint32_t fin,
                           size_t *taken) {
    int32_t rv = enter(stream);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if ((data == NULL && len > 0) || fin > 1 || taken == NULL) {
        return leave(stream, ATLAS_ERR_INVALID);
    }
    return leave(stream, atl_stream_write(stream, data, len, fin, taken));
}

int32_t atlas_stream_read(atlas_stream *stream, void *buf, size_t cap, size_t *len, uint32_t *fin) {
    int32_t rv = enter(stream);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (buf == NULL || cap == 0 || len == NULL || fin == NULL) {
        return leave(stream, ATLAS_ERR_INVALID);
    }
    return leave(stream, atl_stream_read(stream, buf, cap, len, fin));
}

int32_t atlas_stream_peek(atlas_stream *stream, const uint8_t **data, size_t *len, uint32_t *fin) {
    int32_t rv = enter(stream);

    if (rv != ATLAS_OK) {
        return rv;
    }
    if (data == NULL || len == NULL || fin == NULL) {
        return leave(stream, ATLAS_ERR_INVALID);
    }
    return leave(stream, atl_stream_peek(stream, data, len, fin));
}

int32_t atlas_stream_consume(atlas_stream *stream, size_t n) {
    int32_t rv = enter(stream);

    return rv != ATLAS_OK ? rv : leave(stream, atl_stream_consume(stream, n));
}

int32_t atlas_stream_reset(atlas_stream *stream, uint64_t app_code) {
    int32_t rv = enter(stream);

    if (rv != ATLAS_OK) {
        return rv;
    }
    return leave(stream,
                 app_code > APP_CODE_MAX ? ATLAS_ERR_INVALID : atl_stream_reset(stream, app_code));
}
