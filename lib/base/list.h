/* Intrusive doubly linked list with a sentinel. A node that is in no list points to itself. */
#ifndef ATL_BASE_LIST_H
#define ATL_BASE_LIST_H

#include <stddef.h>
#include <stdint.h>

typedef struct atl_list {
    struct atl_list *prev;
    struct atl_list *next;
} atl_list;

static inline void atl_list_init(atl_list *list) {
    list->prev = list;
    list->next = list;
}

static inline int atl_list_empty(const atl_list *list) {
    return list->next == list;
}

static inline void atl_list_append(atl_list *list, atl_list *node) {
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void atl_list_prepend(atl_list *list, atl_list *node) {
    atl_list_append(list->next, node);
}

/* Legal for a node that is in no list. */
static inline void atl_list_remove(atl_list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    atl_list_init(node);
}

/* The first node taken out, or NULL. */
static inline atl_list *atl_list_pop(atl_list *list) {
    atl_list *node = list->next;

    if (node == list) {
        return NULL;
    }
    atl_list_remove(node);
    return node;
}

/* Moves all nodes of `from` to the end of `to`. */
static inline void atl_list_splice(atl_list *to, atl_list *from) {
    if (atl_list_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    atl_list_init(from);
}

#endif
