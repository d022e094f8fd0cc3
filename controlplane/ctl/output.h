
/*
 * What commands print: tables for people, JSON for programs.  See output.c.
 */


#ifndef _CORRAL_OUTPUT_H_INCLUDED_
#define _CORRAL_OUTPUT_H_INCLUDED_


#include <jansson.h>


typedef enum {
    CORRAL_TABLE = 0,
    CORRAL_JSON,
    CORRAL_NAME
} corral_format_e;


/*
 * One column of a table: its heading, the member it shows ("a.b" for a member
 * of a member), and how.
 */

typedef enum {
    CORRAL_PLAIN = 0,
    CORRAL_AGE,                      /* a time as "5m" ago */
    CORRAL_LIST,                     /* an array, separated by commas */
    CORRAL_BYTES
} corral_shown_e;


typedef struct {
    const char       *heading;
    const char       *member;
    corral_shown_e    shown;
} corral_column_t;


/*
 * Prints the items as a table on standard output; the last column may be
 * long.  An empty list prints its heading alone.
 */
void corral_output_table(const corral_column_t *columns, json_t *items);

/* Prints an object as lines of "name: value". */
void corral_output_object(json_t *object);

/* Prints a value as JSON: indented, or in one line. */
void corral_output_json(json_t *value, int indent);

/* A sentence on standard error, with the name of the program in front. */
void corral_output_error(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/* Progress on standard error; silent after corral_output_quiet(). */
void corral_output_note(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));
void corral_output_quiet(void);

/* 1 if standard output is a pipe that nobody reads any more ("| head"). */
int corral_output_closed(void);


#endif /* _CORRAL_OUTPUT_H_INCLUDED_ */
