/* SPDX-License-Identifier: ISC */
/* MX hosts with c-ares 1.28 and newer. */
#include "net/resolver_cares_private.h"

static void take_mx(void *arg, ares_status_t status, size_t timeouts,
                    const ares_dns_record_t *answer)
{
    struct cares_lookup *l = arg;
    bool is_any = false;

    (void)timeouts;
    l->is_done = true;
    l->status = (int)status;
    if (status != ARES_SUCCESS || answer == NULL)
        return;
    size_t count = ares_dns_record_rr_cnt(answer, ARES_SECTION_ANSWER);
    for (size_t i = 0; i < count; i++) {
        const ares_dns_rr_t *rr = ares_dns_record_rr_get_const(answer, ARES_SECTION_ANSWER, i);
        if (rr == NULL || ares_dns_rr_get_type(rr) != ARES_REC_TYPE_MX)
            continue; /* a CNAME that leads to the MX records, or a record that was not asked for */
        const char *host = ares_dns_rr_get_str(rr, ARES_RR_MX_EXCHANGE);
        is_any = true;
        if (host != NULL)
            cares_add_mx(l, ares_dns_rr_get_u16(rr, ARES_RR_MX_PREFERENCE), host);
    }
    if (l->mx_count == 0)
        l->status = is_any ? ARES_EBADRESP : ARES_ENODATA;
}

void cares_ask_mx(struct cares_lookup *l)
{
    ares_status_t status = ares_query_dnsrec(l->channel, l->query->name, ARES_CLASS_IN,
                                             ARES_REC_TYPE_MX, take_mx, l, NULL);

    /* If the query could not be made, c-ares may never call take_mx(). */
    if (status != ARES_SUCCESS && !l->is_done) {
        l->is_done = true;
        l->status = (int)status;
    }
}
