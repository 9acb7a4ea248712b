# SPDX-License-Identifier: ISC
# Counters, and the page that shows them.
librelay_a_SOURCES += %D%/counters.c %D%/counters.h
libsplit_a_SOURCES += %D%/http_access.c %D%/http_access.h
libsplit_a_SOURCES += %D%/http_guard.c %D%/http_guard.h
libsplit_a_SOURCES += %D%/metrics.c %D%/metrics.h
libsplit_a_SOURCES += %D%/metrics_http.h
libsplit_a_SOURCES += %D%/metrics_process.c
if HAVE_MICROHTTPD
libsplit_a_SOURCES += %D%/metrics_http.c %D%/metrics_http_private.h
libsplit_a_SOURCES += %D%/metrics_http_access.c
libsplit_a_SOURCES += %D%/metrics_http_answer.c
libsplit_a_SOURCES += %D%/metrics_http_document.c
else
libsplit_a_SOURCES += %D%/metrics_http_none.c
endif
