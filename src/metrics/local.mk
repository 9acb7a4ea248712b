# SPDX-License-Identifier: ISC
# Counters, and the page that shows them.
librelay_a_SOURCES += %D%/counters.c %D%/counters.h
libsplit_a_SOURCES += %D%/metrics.c %D%/metrics.h
libsplit_a_SOURCES += %D%/metrics_http.h
libsplit_a_SOURCES += %D%/metrics_process.c
if HAVE_MICROHTTPD
libsplit_a_SOURCES += %D%/metrics_http.c
else
libsplit_a_SOURCES += %D%/metrics_http_none.c
endif
