/* SPDX-License-Identifier: ISC */
#include "mta.h"
#include "base/mem.h"
#include "base/ascii.h"
#include "net/endpoint.h"

#include <stddef.h>
#include <string.h>

void mta_ask(SMFICTX *ctx, unsigned long actions)
{
    static char for_mail[] = "i v {opMode} {client_ptr} {client_resolve} {daemon_name} "
                             "{client_addr} {auth_type} {auth_authen}";
    static char for_rcpt[] = "i {rcpt_mailer} {rcpt_host} {rcpt_addr}";
    static char none[] = "";

    if (!(actions & SMFIF_SETSYMLIST))
        return; /* the MTA sends these macros by default */
    /* These calls fail only if they are repeated. */
    (void)smfi_setsymlist(ctx, SMFIM_ENVFROM, for_mail);
    (void)smfi_setsymlist(ctx, SMFIM_ENVRCPT, for_rcpt);
    (void)smfi_setsymlist(ctx, SMFIM_EOH, none); /* without this list Sendmail ignores SMFIM_EOM */
    (void)smfi_setsymlist(ctx, SMFIM_EOM, none);
}

static const char *macro(SMFICTX *ctx, const char *name)
{
    const char *value = smfi_getsymval(ctx, (char *)name);

    return value == NULL ? "" : value;
}

enum mta_kind mta_of(SMFICTX *ctx)
{
    const char *v = macro(ctx, "v");

    if (*macro(ctx, "{opMode}") != '\0')
        return MTA_SENDMAIL;
    if (*macro(ctx, "{client_resolve}") != '\0')
        return MTA_POSTFIX;
    if (*macro(ctx, "{client_ptr}") != '\0')
        return MTA_POSTFIX_CLEANUP;
    bool is_sendmail = *v != '\0' ? ascii_is_digit(*v) : *macro(ctx, "i") != '\0';
    return is_sendmail ? MTA_SENDMAIL : MTA_POSTFIX;
}

bool mta_client_address(SMFICTX *ctx, struct sockaddr_storage *out)
{
    return endpoint_parse_address(macro(ctx, "{client_addr}"), out);
}

bool mta_is_authenticated(SMFICTX *ctx)
{
    return *macro(ctx, "{auth_authen}") != '\0' || *macro(ctx, "{auth_type}") != '\0';
}

bool mta_is_splitlocal(SMFICTX *ctx)
{
    return strcmp(macro(ctx, "{daemon_name}"), "splitlocal") == 0;
}

char *mta_target(SMFICTX *ctx)
{
    const char *mailer = macro(ctx, "{rcpt_mailer}"), *user = macro(ctx, "{rcpt_addr}");

    if (*mailer == '\0' || *user == '\0')
        return NULL;
    return mem_printf("%s\n%s\n%s", mailer, macro(ctx, "{rcpt_host}"), user);
}
