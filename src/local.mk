# The core library: everything that all three programs share. One module a line, in alphabetical order.
noinst_LIBRARIES += libsplit.a
libsplit_a_SOURCES = \
	%D%/buf.c %D%/buf.h \
	%D%/err.c %D%/err.h \
	%D%/mem.c %D%/mem.h \
	%D%/stream.c %D%/stream.h
