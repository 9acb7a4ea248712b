/* SPDX-License-Identifier: ISC */
#include "mta.h"

#include <ctype.h>
#include <stddef.h>

void mta_ask(SMFICTX *ctx, unsigned long actions, bool is_inet)
{
    static char for_mail[] = "i v", none[] = "";

    if (!(actions & SMFIF_SETSYMLIST))
        return; /* the MTA's own lists hold what matters, unless somebody has changed them */
    /* These fail only if called twice. */
    (void)smfi_setsymlist(ctx, SMFIM_ENVFROM, for_mail);
    if (!is_inet)
        return;
    (void)smfi_setsymlist(ctx, SMFIM_ENVRCPT, none);
    (void)smfi_setsymlist(ctx, SMFIM_EOH, none); /* without it Sendmail ignores the next one */
    (void)smfi_setsymlist(ctx, SMFIM_EOM, none);
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
