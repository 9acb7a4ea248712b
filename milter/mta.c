/* SPDX-License-Identifier: ISC */
#include "mta.h"

#include <ctype.h>
#include <stddef.h>

void mta_ask(SMFICTX *ctx, unsigned long actions)
{
    static char mail_macros[] = "i v";
    static char rcpt_macros[] = "i {rcpt_mailer} {rcpt_host} {rcpt_addr}";

    if (!(actions & SMFIF_SETSYMLIST))
        return; /* the MTA's own lists hold what matters, unless somebody has changed them */
    /* These fail only if called twice. */
    (void)!smfi_setsymlist(ctx, SMFIM_ENVFROM, mail_macros);
    (void)!smfi_setsymlist(ctx, SMFIM_ENVRCPT, rcpt_macros);
}

static const char *macro(SMFICTX *ctx, char *name)
{
    const char *value = smfi_getsymval(ctx, name);

    return value == NULL ? "" : value;
}

bool mta_is_sendmail(SMFICTX *ctx)
{
    static char version[] = "v", queue_id[] = "i";
    const char *v = macro(ctx, version);

    return *v != '\0' ? isdigit((unsigned char)*v) != 0 : *macro(ctx, queue_id) != '\0';
}

uint64_t mta_resolved(SMFICTX *ctx)
{
    static char names[][16] = {"{rcpt_mailer}", "{rcpt_host}", "{rcpt_addr}"};
    uint64_t hash = 14695981039346656037U; /* FNV-1a */
    bool said = false;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = macro(ctx, names[i]);
        said = said || *value != '\0';
        for (;; value++) {
            hash = (hash ^ (unsigned char)*value) * 1099511628211U;
            if (*value == '\0')
                break;
        }
    }
    return said ? hash | 1 : 0;
}
