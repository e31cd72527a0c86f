/* The workload of a random scenario: dials, streams in both directions and messages, every byte of
 * which is checked where it arrives. */
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 8192
#define DIAL_MS 15000
#define LAST_WORDS "last words"

/* The byte at `at` of one direction of a job's stream; the client's begins with its number. */
static uint8_t pattern(int job, int side, uint64_t at) {
    if (side == 0 && at < 4) {
        return at == 3 ? (uint8_t)job : 0;
    }
    return (uint8_t)((at * 31 >> 3) ^ (uint64_t)(job * 7) ^ (uint64_t)(side * 101));
}

static uint64_t now_of(const random_world *w) {
    return sim_now(w->net);
}

/* ---- streams ---- */

static uint64_t allowed(const random_end *end) {
    const random_job *job = &end->w->s->jobs[end->job];
    uint64_t elapsed = now_of(end->w) - end->w->work[end->job].started;

    if (job->rate == 0 || elapsed / ATL_MS * job->rate / 1000 > end->total) {
        return end->total;
    }
    return elapsed / ATL_MS * job->rate / 1000;
}

static void push(random_end *end) {
    uint8_t block[BLOCK];
    uint64_t most = end->job < 0 ? 0 : allowed(end);

    while (end->job >= 0 && end->stream != NULL && end->sent <= end->total) {
        size_t want = most - end->sent < BLOCK ? (size_t)(most - end->sent) : BLOCK;
        uint32_t fin = end->sent + want == end->total;
        size_t taken = 0;
        size_t i;
        int32_t rv;

        if (want == 0 && !fin) {
            return;
        }
        for (i = 0; i < want; i++) {
            block[i] = pattern(end->job, end->side, end->sent + i);
        }
        rv = atlas_stream_write(end->stream, block, want, fin, &taken);
        if (rv != ATLAS_OK) {
            return; /* it has ended: on_closed judges */
        }
        end->sent += taken;
        if (taken < want) {
            return;
        }
        end->sent += fin; /* the end counts as one more: never written again */
    }
}

/* The server's side learns which job it is. */
static void identify(random_end *end) {
    random_world *w = end->w;
    int job = end->header[3];
    const random_job *j = &w->s->jobs[job];

    if (job >= w->s->n_jobs || end->header[0] != 0 || w->work[job].ends[1] != NULL ||
        j->to != end->conn->self || j->from != end->conn->peer) {
        random_break(w, BROKEN_BYTES, "stream of job %d twice, or of none", job);
        return;
    }
    end->job = job;
    end->total = j->reply;
    w->work[job].ends[1] = end;
}

static void take(random_end *end, const uint8_t *data, size_t len) {
    size_t i;

    for (i = 0; i < len; i++) {
        if (end->side == 1 && end->got < 4) {
            end->header[end->got] = data[i];
            if (end->got == 3) {
                identify(end);
            }
        } else if (end->job < 0 || data[i] != pattern(end->job, !end->side, end->got)) {
            random_break(end->w, BROKEN_BYTES, "job %d, side %d: byte %llu is wrong", end->job,
                         end->side, (unsigned long long)end->got);
            return;
        }
        end->got++;
    }
    end->got_at = now_of(end->w);
}

static uint64_t expected(const random_end *end) {
    const random_job *job = &end->w->s->jobs[end->job];

    return end->side == 0 ? job->reply : job->bytes;
}

static void on_readable(void *user, atlas_stream *stream) {
    random_end *end = user;
    uint8_t buf[BLOCK];
    uint32_t fin = 0;
    size_t len;

    while (!fin && end->w->broken == 0 &&
           atlas_stream_read(stream, buf, sizeof(buf), &len, &fin) == ATLAS_OK) {
        take(end, buf, len);
    }
    if (fin) {
        end->got_fin = 1;
        if (end->job < 0 || end->got != expected(end)) {
            random_break(end->w, BROKEN_BYTES, "job %d, side %d: the end after %llu bytes",
                         end->job, end->side, (unsigned long long)end->got);
        }
    }
    push(end);
}

static void on_writable(void *user, atlas_stream *stream) {
    (void)stream;
    push(user);
}

static int complete(const random_end *end) {
    return end != NULL && end->got_fin && end->sent > end->total;
}

static void on_stream_closed(void *user, atlas_stream *stream, int32_t code, uint64_t app_code) {
    random_end *end = user;
    random_world *w = end->w;

    (void)stream;
    (void)app_code;
    end->stream = NULL;
    if (end->closed++ != 0) {
        random_break(w, BROKEN_FINAL, "job %d: a stream ended twice", end->job);
    } else if (code == ATLAS_OK && !complete(end)) {
        random_break(w, BROKEN_BYTES, "job %d, side %d: a stream ended well, but not complete",
                     end->job, end->side);
    } else if (code == ATLAS_ERR_STREAM_RESET || code == ATLAS_ERR_CANCELLED) {
        random_break(w, BROKEN_CALL, "job %d: a stream was reset by nobody", end->job);
    } else if (end->job >= 0 && w->work[end->job].state == JOB_RUNNING) {
        w->work[end->job].state = code == ATLAS_OK && complete(w->work[end->job].ends[!end->side])
                                      ? JOB_DONE
                                  : code == ATLAS_OK ? JOB_RUNNING
                                                     : JOB_GIVEN_UP;
    }
}

static const atlas_stream_callbacks STREAM = {sizeof(STREAM), on_readable, on_writable, NULL,
                                              on_stream_closed};

static random_end *end_new(random_conn *conn, int job, int side) {
    random_end *end = calloc(1, sizeof(*end));

    if (end == NULL) {
        abort();
    }
    end->w = conn->w;
    end->conn = conn;
    end->job = job;
    end->side = side;
    end->got_at = now_of(conn->w);
    end->next = conn->w->ends;
    conn->w->ends = end;
    return end;
}

/* ---- connections ---- */

static void alive(random_conn *conn) {
    if (conn->closed) {
        random_break(conn->w, BROKEN_FINAL, "an event after the final one, of %d with %d",
                     conn->self, conn->peer);
    }
}

static void on_connected(void *user, atlas_conn *c) {
    random_conn *conn = user;

    (void)c;
    alive(conn);
    conn->connected = 1;
    conn->connected_at = now_of(conn->w);
}

static void on_path(void *user, atlas_conn *c, const atlas_path_info *path, const char *reason) {
    random_conn *conn = user;

    (void)c;
    alive(conn);
    sim_note(conn->w->net, "path of %d to %d: %u, %s", conn->self, conn->peer, (unsigned)path->kind,
             reason);
    conn->path = path->kind;
    conn->path_at = now_of(conn->w);
}

static void on_stream(void *user, atlas_conn *c, atlas_stream *stream) {
    random_conn *conn = user;
    random_end *end = end_new(conn, -1, 1);

    (void)c;
    alive(conn);
    end->stream = stream;
    if (atlas_stream_set_callbacks(stream, &STREAM, end) != ATLAS_OK) {
        random_break(conn->w, BROKEN_CALL, "a stream takes no callbacks");
    }
}

static void on_message(void *user, atlas_conn *c, const uint8_t *data, size_t len) {
    random_conn *conn = user;
    random_world *w = conn->w;
    int job;
    int n;

    (void)c;
    alive(conn);
    if (len == strlen(LAST_WORDS) && memcmp(data, LAST_WORDS, len) == 0) {
        return;
    }
    job = len < 2 ? RANDOM_JOBS : data[0];
    n = len < 2 ? 0 : data[1];
    if (job >= w->s->n_jobs || n >= (int)sizeof(w->work[job].messages_got) ||
        w->s->jobs[job].to != conn->self || len != 2 + (size_t)n * 100) {
        random_break(w, BROKEN_BYTES, "a message of nobody, %zu bytes", len);
    } else if (w->work[job].messages_got[n]++ != 0) {
        random_break(w, BROKEN_BYTES, "message %d of job %d came twice", n, job);
    }
}

static void on_message_sent(void *user, atlas_conn *c, uint64_t id, int32_t code) {
    random_conn *conn = user;
    random_world *w = conn->w;
    int job;

    (void)c;
    (void)id;
    alive(conn);
    if (w->ending) {
        conn->last_words--;
        return;
    }
    /* which one does not matter: one final event each */
    for (job = 0; job < w->s->n_jobs; job++) {
        random_work *work = &w->work[job];

        if (work->messages_sent > work->messages_acked + work->messages_failed &&
            work->ends[0] == NULL && w->s->jobs[job].from == conn->self &&
            w->s->jobs[job].to == conn->peer) {
            work->messages_acked += code == ATLAS_OK;
            work->messages_failed += code != ATLAS_OK;
            return;
        }
    }
    random_break(w, BROKEN_FINAL, "more final events than messages, of %d", conn->self);
}

static void on_closed(void *user, atlas_conn *c, int32_t code, uint64_t app_code,
                      const char *text) {
    random_conn *conn = user;
    random_world *w = conn->w;
    int excused;

    (void)c;
    (void)app_code;
    alive(conn);
    conn->closed = 1;
    conn->conn = NULL;
    sim_note(w->net, "connection of %d with %d ends: %s, %s", conn->self, conn->peer,
             atlas_error_name(code), text);
    if (w->ending) {
        return;
    }
    /* a dial may fail when things were not as they should be at any time of it */
    excused = !conn->connected &&
              (!random_possible(w, conn->self, conn->peer) ||
               w->pairs[conn->self][conn->peer].due_from + 100 * ATL_MS > conn->since);
    if (!excused && !random_may_die(w, conn)) {
        random_break(w, BROKEN_DEATH, "%s of %d with %d ended: %s, %s",
                     conn->connected ? "a connection" : "a dial", conn->self, conn->peer,
                     atlas_error_name(code), text);
    }
    w->pairs[conn->self][conn->peer].redial_at = now_of(w) + ATL_SECOND;
}

static const atlas_conn_callbacks CONN = {.size = sizeof(CONN),
                                          .on_connected = on_connected,
                                          .on_path = on_path,
                                          .on_stream = on_stream,
                                          .on_message = on_message,
                                          .on_message_sent = on_message_sent,
                                          .on_closed = on_closed};

static random_conn *conn_new(random_world *w, int self, int peer) {
    random_conn *conn = &w->conns[w->n_conns++];

    if (w->n_conns == RANDOM_CONNS) {
        random_break(w, BROKEN_DEATH, "connections without end");
        w->n_conns--;
    }
    memset(conn, 0, sizeof(*conn));
    conn->w = w;
    conn->self = self;
    conn->peer = peer;
    conn->since = now_of(w);
    conn->path_at = conn->since;
    return conn;
}

static void accept(void *user, sim_node *node, atlas_conn *c) {
    random_world *w = user;
    atlas_path_info path = {.size = sizeof(path)};
    random_conn *conn;
    int peer;

    for (peer = 0; peer < w->s->n_nodes; peer++) {
        if (strcmp(w->ids[peer], atlas_conn_peer_id(c)) == 0) {
            break;
        }
    }
    conn = conn_new(w, (int)(node - w->nodes), peer);
    conn->conn = c;
    conn->connected = 1;
    conn->connected_at = conn->since;
    if (peer == w->s->n_nodes || atlas_conn_set_callbacks(c, &CONN, conn) != ATLAS_OK ||
        atlas_conn_get_path(c, &path) != ATLAS_OK) {
        random_break(w, BROKEN_CALL, "a connection of a stranger");
    }
    conn->path = path.kind;
}

void random_work_init(random_world *w, int node) {
    w->nodes[node].accept = accept;
    w->nodes[node].accept_user = w;
    snprintf(w->ids[node], sizeof(w->ids[node]), "%s", atlas_self_id(w->nodes[node].ctx));
}

/* ---- jobs ---- */

static random_conn *find(random_world *w, int from, int to) {
    random_conn *found = NULL;
    int i;

    for (i = 0; i < w->n_conns; i++) {
        random_conn *conn = &w->conns[i];

        if (!conn->closed && conn->self == from && conn->peer == to) {
            found = conn;
        }
    }
    return found;
}

static void dial(random_world *w, int from, int to) {
    random_conn *conn;
    int32_t rv;

    if (now_of(w) < w->pairs[from][to].redial_at) {
        return;
    }
    conn = conn_new(w, from, to);
    conn->dialled = 1;
    rv = atlas_dial(w->nodes[from].ctx, w->ids[to], DIAL_MS, &CONN, conn, &conn->conn);
    if (rv != ATLAS_OK) {
        random_break(w, BROKEN_CALL, "dial: %s", atlas_error_name(rv));
    }
}

static void start_stream(random_world *w, int job, random_conn *conn) {
    random_work *work = &w->work[job];
    random_end *end = end_new(conn, job, 0);

    end->total = w->s->jobs[job].bytes;
    work->started = now_of(w);
    if (atlas_stream_open(conn->conn, 0, &STREAM, end, &end->stream) != ATLAS_OK) {
        end->job = -1; /* none free now: again later */
        end->closed = 1;
        return;
    }
    work->ends[0] = end;
    work->state = JOB_RUNNING;
}

static void start_messages(random_world *w, int job, random_conn *conn) {
    random_work *work = &w->work[job];
    uint8_t data[2 + 100 * 64];
    int n;

    memset(data, 'm', sizeof(data));
    data[0] = (uint8_t)job;
    work->started = now_of(w);
    work->state = JOB_RUNNING;
    for (n = 0; n < (int)w->s->jobs[job].reply; n++) {
        data[1] = (uint8_t)n;
        if (atlas_conn_send_message(conn->conn, data, 2 + (size_t)n * 100, NULL) != ATLAS_OK) {
            random_break(w, BROKEN_CALL, "a message is not taken");
        }
        work->messages_sent++;
    }
}

static void tick_job(random_world *w, int i) {
    const random_job *job = &w->s->jobs[i];
    random_work *work = &w->work[i];
    random_conn *conn;

    if (work->state == JOB_RUNNING) {
        if (job->bytes == 0 && work->messages_acked + work->messages_failed == (int)job->reply) {
            work->state = work->messages_failed > 0 ? JOB_GIVEN_UP : JOB_DONE;
        }
        return;
    }
    if (work->state != JOB_WAITING || now_of(w) < w->start + job->at || w->away[job->from]) {
        return; /* a program that stands still asks for nothing */
    }
    conn = find(w, job->from, job->to);
    if (conn == NULL) {
        dial(w, job->from, job->to);
    } else if (conn->connected && job->bytes == 0) {
        start_messages(w, i, conn);
    } else if (conn->connected) {
        start_stream(w, i, conn);
    }
}

void random_work_tick(random_world *w) {
    random_end *end;
    int i;

    for (i = 0; i < w->s->n_jobs && w->broken == 0; i++) {
        if (!w->s->jobs[i].dropped) {
            tick_job(w, i);
        }
    }
    for (end = w->ends; end != NULL; end = end->next) {
        if (end->stream != NULL && end->sent <= end->total && !w->away[end->conn->self]) {
            push(end);
        }
    }
}

void random_last_words(random_world *w) {
    int i;

    for (i = 0; i < w->n_conns; i++) {
        random_conn *conn = &w->conns[i];

        if (!conn->closed && conn->connected) {
            if (atlas_conn_send_message(conn->conn, LAST_WORDS, strlen(LAST_WORDS), NULL) !=
                ATLAS_OK) {
                random_break(w, BROKEN_CALL, "a last message is not taken");
            }
            conn->last_words++;
        }
    }
}

void random_work_done(random_world *w) {
    while (w->ends != NULL) {
        random_end *end = w->ends;

        w->ends = end->next;
        free(end);
    }
}
