# SPDX-License-Identifier: ISC
# Sockets, TLS, authentication, names.
libsplit_a_SOURCES += %D%/endpoint.c %D%/endpoint.h
libsplit_a_SOURCES += %D%/endpoint_connect.c
libsplit_a_SOURCES += %D%/endpoint_network.c
libsplit_a_SOURCES += %D%/inherited.c %D%/inherited.h
libsplit_a_SOURCES += %D%/oauth.c %D%/oauth.h
libsplit_a_SOURCES += %D%/oauth_explain.c
librelay_a_SOURCES += %D%/resolver.h
librelay_a_SOURCES += %D%/resolver_cares_private.h
libsplit_a_SOURCES += %D%/sasl.h
libsplit_a_SOURCES += %D%/sasl_file.c
libsplit_a_SOURCES += %D%/secret.c %D%/secret.h
libsplit_a_SOURCES += %D%/stream.c %D%/stream.h
libsplit_a_SOURCES += %D%/tls.c %D%/tls.h
libsplit_a_SOURCES += %D%/tls_private.h
if HAVE_CARES
librelay_a_SOURCES += %D%/resolver_cares.c
else
librelay_a_SOURCES += %D%/resolver_libc.c
endif
if HAVE_CARES_DNSREC
librelay_a_SOURCES += %D%/resolver_cares_dnsrec.c
else
librelay_a_SOURCES += %D%/resolver_cares_reply.c
endif
if HAVE_GSASL
libsplit_a_SOURCES += %D%/sasl_gsasl.c
else
libsplit_a_SOURCES += %D%/sasl_none.c
endif
if HAVE_OPENSSL
libsplit_a_SOURCES += %D%/tls_context.c
libsplit_a_SOURCES += %D%/tls_stream.c
else
libsplit_a_SOURCES += %D%/tls_none.c
endif
