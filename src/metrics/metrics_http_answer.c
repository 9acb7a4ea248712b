/* SPDX-License-Identifier: ISC */
#include "metrics/metrics_http_private.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"

/* The page loads its own files and documents, and nothing else. Its script is a file, so no text
 * that finds its way into the page is run. */
#define CONTENT_SECURITY_POLICY                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';" \
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

static const struct {
    const char *name, *value;
} all_headers[] = {
    {MHD_HTTP_HEADER_CONNECTION, "close"},
    {MHD_HTTP_HEADER_CACHE_CONTROL, "no-store"},
    {"X-Content-Type-Options", "nosniff"},
    {"Content-Security-Policy", CONTENT_SECURITY_POLICY},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Referrer-Policy", "no-referrer"},
    {"X-Frame-Options", "DENY"},
};

/* retry_after_s: 0: none. */
static enum MHD_Result queue(struct MHD_Connection *c, unsigned status, const char *type,
                             unsigned retry_after_s, struct MHD_Response *r)
{
    char seconds[16];

    if (r == NULL)
        return MHD_NO;
    snprintf(seconds, sizeof seconds, "%u", retry_after_s);
    if (retry_after_s > 0)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    (void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    for (size_t i = 0; i < sizeof all_headers / sizeof all_headers[0]; i++)
        (void)MHD_add_response_header(r, all_headers[i].name, all_headers[i].value);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (status == MHD_HTTP_UNAUTHORIZED)
        (void)MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE,
                                      "Basic realm=\"splitrelay\", charset=\"UTF-8\"");
    enum MHD_Result result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result answer(struct MHD_Connection *c, unsigned status, const char *type,
                              struct buf *body)
{
    size_t len = body->len;

    return queue(c, status, type, 0,
                 MHD_create_response_from_buffer(len, buf_take(body), MHD_RESPMEM_MUST_FREE));
}

static enum MHD_Result answer_text(struct MHD_Connection *c, unsigned status, const char *text)
{
    struct buf body = {0};

    buf_addf(&body, "%s\n", text);
    return answer(c, status, TEXT, &body);
}

static enum MHD_Result answer_error(struct MHD_Connection *c, unsigned status, const char *text)
{
    struct buf body = {0};

    buf_addf(&body, "{\"error\":\"%s\"}", text);
    return answer(c, status, JSON, &body);
}

static enum MHD_Result answer_refusal(struct MHD_Connection *c,
                                      const struct metrics_http_refusal *f, bool is_document)
{
    struct buf body = {0};

    if (!is_document)
        buf_addf(&body, "%s\n", f->why);
    else if (f->retry_after_s > 0)
        buf_addf(&body, "{\"error\":\"%s\",\"retry_after\":%u}", f->why, f->retry_after_s);
    else
        buf_addf(&body, "{\"error\":\"%s\"}", f->why);
    size_t len = body.len;
    return queue(c, f->status, is_document ? JSON : TEXT, f->retry_after_s,
                 MHD_create_response_from_buffer(len, buf_take(&body), MHD_RESPMEM_MUST_FREE));
}

static enum MHD_Result answer_ready(const struct metrics_http *h, struct MHD_Connection *c)
{
    struct err why = {""};

    if (h->o.is_ready(h->o.ctx, &why))
        return answer_text(c, MHD_HTTP_OK, "ready");
    log_sanitize(why.text);
    return answer_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, why.text);
}

static enum MHD_Result answer_metrics(struct metrics_http *h, struct MHD_Connection *c)
{
    struct buf body = {0};

    pthread_mutex_lock(&h->page_lock);
    h->o.page(h->o.ctx, &body);
    pthread_mutex_unlock(&h->page_lock);
    return answer(c, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", &body);
}

/* --- the page --- */

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* Is the request made by the page itself, or by a program that is no browser? */
static bool is_same_site(struct MHD_Connection *c)
{
    const char *site = header(c, "Sec-Fetch-Site");

    return site == NULL || strcmp(site, "same-origin") == 0 || strcmp(site, "none") == 0;
}

/* Has the request a body? A document is made after the headers, when the body is not read yet. */
static bool has_body(struct MHD_Connection *c)
{
    const char *length = header(c, MHD_HTTP_HEADER_CONTENT_LENGTH);

    return header(c, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL ||
           (length != NULL && strcmp(length, "0") != 0);
}

struct taking {
    struct metrics_http_parameters *parameters;
    bool is_refused; /* there are too many parameters, or one is no text */
};

static enum MHD_Result take_parameter(void *cls, enum MHD_ValueKind kind, const char *name,
                                      size_t name_size, const char *value, size_t value_size)
{
    struct taking *t = cls;
    struct metrics_http_parameters *p = t->parameters;

    (void)kind;
    value = value == NULL ? "" : value;
    t->is_refused = strlen(name) != name_size || strlen(value) != value_size ||
                    !utf8_is_valid(name, name_size) || !utf8_is_valid(value, value_size) ||
                    p->count == METRICS_HTTP_PARAMETERS_MAX;
    if (t->is_refused)
        return MHD_NO;
    p->names[p->count] = mem_strdup(name);
    p->values[p->count++] = mem_strdup(value);
    return MHD_YES;
}

static void free_job(struct metrics_http_job *job)
{
    for (size_t i = 0; i < job->parameters.count; i++) {
        free(job->parameters.names[i]);
        free(job->parameters.values[i]);
    }
    buf_clear(&job->body);
    free(job->path);
    free(job);
}

/* Begin to make a document, or refuse the request. */
static enum MHD_Result begin_document(struct metrics_http_socket *s, struct MHD_Connection *c,
                                      const char *path, void **state)
{
    if (!is_same_site(c))
        return answer_error(c, MHD_HTTP_FORBIDDEN, "asked for by another web site");
    if (has_body(c))
        return answer_error(c, MHD_HTTP_BAD_REQUEST, "the request has a body");
    struct metrics_http_job *job = mem_zalloc(sizeof *job);
    struct taking taking = {.parameters = &job->parameters};
    job->connection = c;
    job->path = mem_strdup(path);
    (void)MHD_get_connection_values_n(c, MHD_GET_ARGUMENT_KIND, take_parameter, &taking);
    if (taking.is_refused) {
        free_job(job);
        return answer_error(c, MHD_HTTP_BAD_REQUEST,
                            "too many parameters, or one with a NUL or not in UTF-8");
    }
    *state = job;
    metrics_http_set_waiting(s, c, true);
    if (metrics_http_documents_add(s->http, job))
        return MHD_YES;
    metrics_http_set_waiting(s, c, false);
    *state = NULL;
    free_job(job);
    return answer_error(c, MHD_HTTP_SERVICE_UNAVAILABLE, "too many requests wait");
}

static enum MHD_Result answer_site(struct metrics_http_socket *s, struct MHD_Connection *c,
                                   const char *url, const char *version, void **state)
{
    const struct metrics_http_file *file = s->http->o.site->files;
    struct metrics_http_refusal refusal;
    bool is_document = strncmp(url, "/api/", 5) == 0;

    while (file->path != NULL && strcmp(file->path, url) != 0)
        file++;
    if (!is_document && file->path == NULL)
        return answer_text(c, MHD_HTTP_NOT_FOUND,
                           "/, /api/..., /metrics, /healthz and /readyz are here");
    metrics_http_check_access(s, c, version, &refusal);
    if (refusal.status != MHD_HTTP_OK)
        return answer_refusal(c, &refusal, is_document);
    if (is_document)
        return begin_document(s, c, url + 5, state);
    return queue(c, MHD_HTTP_OK, file->type, 0,
                 MHD_create_response_from_buffer(file->size, (void *)(uintptr_t)file->data,
                                                 MHD_RESPMEM_PERSISTENT));
}

/* libmicrohttpd calls this for the first time when it has read the headers. The answer is given at
 * once, so libmicrohttpd reads no body, and closes the connection. Only for a document is the
 * function called again, when the document is made. */
enum MHD_Result metrics_http_answer(void *cls, struct MHD_Connection *c, const char *url,
                                    const char *method, const char *version, const char *upload,
                                    size_t *upload_size, void **state)
{
    struct metrics_http_socket *s = cls;
    struct metrics_http *h = s->http;
    struct metrics_http_job *job = *state;

    (void)upload;
    (void)upload_size;
    if (job != NULL) {
        metrics_http_set_waiting(s, c, false);
        return answer(c, job->status, JSON, &job->body);
    }
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only");
    if (strcmp(url, "/healthz") == 0)
        return answer_text(c, MHD_HTTP_OK, "ok");
    if (strcmp(url, "/readyz") == 0)
        return answer_ready(h, c);
    if (strcmp(url, "/metrics") == 0)
        return answer_metrics(h, c);
    if (h->o.site != NULL)
        return answer_site(s, c, url, version, state);
    return answer_text(c, MHD_HTTP_NOT_FOUND, h->o.not_found);
}

void metrics_http_completed(void *cls, struct MHD_Connection *c, void **state,
                            enum MHD_RequestTerminationCode code)
{
    (void)cls;
    (void)c;
    (void)code;
    if (*state != NULL)
        free_job(*state);
    *state = NULL;
}
