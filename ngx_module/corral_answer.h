
/*
 * What is a request and what is its answer: the declaration of a service,
 * applied to messages that come in pieces.  See corral_answer.c.
 */


#ifndef _CORRAL_ANSWER_H_INCLUDED_
#define _CORRAL_ANSWER_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>

#include <corral_pointer.h>

#include "corral_decode.h"


#define CORRAL_ANSWER_NAMES  32         /* of one list of the declaration */


typedef struct {
    uint32_t          n;
    uint64_t          hashes[CORRAL_ANSWER_NAMES];
} corral_answer_names_t;


/* A declaration, compiled: no pointers inside, comparable byte by byte. */

typedef struct {
    uint32_t               mode;            /* corral_answer_mode_e */
    uint32_t               preamble;        /* so many first messages */

    /* of the client's messages */

    corral_pointer_t       id;
    corral_pointer_t       name;
    corral_answer_names_t  requests;
    corral_answer_names_t  preambles;

    /* of the agent's; in jsonrpc result and error, too */

    corral_pointer_t       reply;
    corral_pointer_t       final;
    corral_pointer_t       result;
    corral_pointer_t       error;
    corral_answer_names_t  finals;
    corral_answer_names_t  streams;
} corral_answer_rules_t;


typedef enum {
    CORRAL_ANSWER_NOTE = 0,             /* asks for nothing, answers nothing */
    CORRAL_ANSWER_REQUEST,
    CORRAL_ANSWER_STARTED,              /* part of an answer, more follows */
    CORRAL_ANSWER_FINAL
} corral_answer_kind_e;


/*
 * key: what an answer has in common with its request; 0: nothing.  content: a
 * hash of the message without its id, set by the caller; 0: not known.
 */

typedef struct {
    corral_answer_kind_e   kind;
    uint64_t               key;
    uint64_t               content;
    unsigned               preamble;    /* by its name */
} corral_answer_t;


int corral_answer_compile(corral_answer_rules_t *rules,
    const corral_service_t *service, char *err, size_t size);

void corral_answer_begin_client(const corral_answer_rules_t *rules,
    corral_pointer_scan_t *scan);
void corral_answer_begin_agent(const corral_answer_rules_t *rules,
    corral_pointer_scan_t *scan);
corral_answer_t corral_answer_of_client(const corral_answer_rules_t *rules,
    const corral_pointer_scan_t *scan);
int corral_answer_where(const corral_pointer_scan_t *scan, size_t *begin,
    size_t *end);
corral_answer_t corral_answer_of_agent(const corral_answer_rules_t *rules,
    const corral_pointer_scan_t *scan);


#endif /* _CORRAL_ANSWER_H_INCLUDED_ */
