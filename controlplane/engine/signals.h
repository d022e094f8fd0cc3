/*
 * Names of signals, as documents have them.  Pure.  See signals.c.
 */


#ifndef _CORRALD_SIGNALS_H_INCLUDED_
#define _CORRALD_SIGNALS_H_INCLUDED_


/* "TERM" to 15; SIGTERM for a name that is not known. */

int corrald_signals_number(const char *name);

/* 9 to "KILL", or its number; the text is valid until the next call. */

const char *corrald_signals_name(int number);


#endif /* _CORRALD_SIGNALS_H_INCLUDED_ */
