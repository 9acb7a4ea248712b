/* SPDX-License-Identifier: ISC */
#include "metrics/metrics_http_private.h"

#include "base/ascii.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define TEXT "text/plain; charset=utf-8"
#define JSON "application/json"
#define DENIED_LOG_MS 1000 /* between two log lines about wrong passwords */

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

static enum MHD_Result queue(struct MHD_Connection *c, unsigned status, const char *type,
                             struct MHD_Response *r)
{
    if (r == NULL)
        return MHD_NO;
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

    return queue(c, status, type,
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

/* --- who may see the page --- */

static const char *header(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

/* Does the value of Host ("NAME", "NAME:PORT", "[ADDRESS]:PORT") name a loopback host? */
static bool is_loopback_name(const char *host)
{
    char name[256];

    if (host == NULL)
        return false;
    bool has_brackets = host[0] == '[';
    host += has_brackets;
    size_t len = strcspn(host, has_brackets ? "]" : ":");
    if (len >= sizeof name)
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    return endpoint_is_loopback_host(name);
}

/* Log that a client gave a wrong password, at most once a second. */
static void log_denied(struct metrics_http *h, struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char address[INET6_ADDRSTRLEN] = "unix";
    int64_t now_ms = clock_now_ms();

    pthread_mutex_lock(&h->lock);
    bool is_due = h->denied_ms == 0 || now_ms - h->denied_ms >= DENIED_LOG_MS;
    if (is_due)
        h->denied_ms = now_ms;
    pthread_mutex_unlock(&h->lock);
    if (!is_due)
        return;
    const struct sockaddr *sa = info == NULL ? NULL : info->client_addr;
    if (sa != NULL && sa->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, address,
                        sizeof address);
    else if (sa != NULL && sa->sa_family == AF_INET6)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr,
                        address, sizeof address);
    log_warning("page: wrong name or password from [%s]", address);
}

/* Is the request one that a web server passes on for a client elsewhere? nginx adds none of these
 * fields unless it is told to, and then speaks HTTP/1.0, which no browser does. */
static bool is_passed_on(struct MHD_Connection *c, const char *version)
{
    static const char *const names[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

    if (strcmp(version, MHD_HTTP_VERSION_1_1) != 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (header(c, names[i]) != NULL)
            return true;
    return false;
}

/* Does a password count, and has the client given one? */
static bool check_password(struct metrics_http *h, const char *authorization, bool *is_wanted_out)
{
    pthread_mutex_lock(&h->lock);
    *is_wanted_out = h->access != NULL;
    bool is_right = h->access != NULL && metrics_access_allows(h->access, authorization);
    pthread_mutex_unlock(&h->lock);
    return is_right;
}

/* Return 200 if the client may see the page, else the status and the reason of the refusal. */
static unsigned check_access(struct metrics_http_socket *s, struct MHD_Connection *c,
                             const char *version, const char **why)
{
    const char *authorization = header(c, MHD_HTTP_HEADER_AUTHORIZATION);

    bool is_wanted;
    if (check_password(s->http, authorization, &is_wanted))
        return MHD_HTTP_OK;
    if (is_wanted) {
        if (authorization != NULL)
            log_denied(s->http, c);
        *why = "name and password, please";
        return MHD_HTTP_UNAUTHORIZED;
    }
    if (s->unix_path[0] != '\0')
        return MHD_HTTP_OK;
    *why = "the page is not served at this address: it can be reached from other machines, and"
           " page_password_file is not set";
    if (!s->is_loopback)
        return MHD_HTTP_FORBIDDEN;
    *why = "the page is at http://127.0.0.1 and http://localhost only, unless page_password_file is"
           " set";
    if (!is_loopback_name(header(c, MHD_HTTP_HEADER_HOST)))
        return MHD_HTTP_FORBIDDEN;
    *why = "a web server passes this request on: the page needs a unix socket for it, or"
           " page_password_file";
    return is_passed_on(c, version) ? MHD_HTTP_FORBIDDEN : MHD_HTTP_OK;
}

/* --- the page --- */

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
    bool is_refused; /* there are too many parameters, or one has a NUL */
};

static enum MHD_Result take_parameter(void *cls, enum MHD_ValueKind kind, const char *name,
                                      size_t name_size, const char *value, size_t value_size)
{
    struct taking *t = cls;
    struct metrics_http_parameters *p = t->parameters;

    (void)kind;
    value = value == NULL ? "" : value;
    t->is_refused = strlen(name) != name_size || strlen(value) != value_size ||
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
        return answer_error(c, MHD_HTTP_BAD_REQUEST, "too many parameters, or a NUL in one");
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
    const char *why = "";
    bool is_document = strncmp(url, "/api/", 5) == 0;

    while (file->path != NULL && strcmp(file->path, url) != 0)
        file++;
    if (!is_document && file->path == NULL)
        return answer_text(c, MHD_HTTP_NOT_FOUND,
                           "/, /api/..., /metrics, /healthz and /readyz are here");
    unsigned status = check_access(s, c, version, &why);
    if (status != MHD_HTTP_OK)
        return is_document ? answer_error(c, status, why) : answer_text(c, status, why);
    if (is_document)
        return begin_document(s, c, url + 5, state);
    return queue(c, MHD_HTTP_OK, file->type,
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
