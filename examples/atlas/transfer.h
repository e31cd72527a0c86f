/* How a file travels over a bidirectional stream.
 *
 *   sender:    "ATLF" | version 1 (1) | length of the name (2) | size (8) | name | the bytes |
 * BLAKE2b-256 of them (32) receiver:  status (1) | length of the text (2) | BLAKE2b-256 of what was
 * stored (32) | text
 *
 * Integers are big-endian. The text is the name under which the file was stored, or the reason why
 * it was not. The receiver may refuse at any time; it then reads no further, which stops the
 * sender. */
#ifndef ATLAS_PROGRAM_TRANSFER_H
#define ATLAS_PROGRAM_TRANSFER_H

#include <sodium.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_HASH 32
#define FILE_NAME_LONGEST 255
#define FILE_HEAD_FIXED 15 /* before the name */
#define FILE_HEAD_LONGEST (FILE_HEAD_FIXED + FILE_NAME_LONGEST)
#define FILE_ANSWER_FIXED 35 /* before the text */
#define FILE_TEXT_LONGEST 512
#define FILE_ANSWER_LONGEST (FILE_ANSWER_FIXED + FILE_TEXT_LONGEST)

#define FILE_STORED 0
#define FILE_REFUSED 1
#define FILE_DAMAGED 2

typedef struct file_head {
    uint64_t size;
    size_t name_len;
    uint8_t name[FILE_NAME_LONGEST]; /* any bytes */
} file_head;

typedef struct file_answer {
    uint8_t status;
    uint8_t hash[FILE_HASH];
    char text[FILE_TEXT_LONGEST + 1]; /* any bytes but NUL */
} file_answer;

/* Returns the length. name_len is at most FILE_NAME_LONGEST. */
size_t file_head_encode(const file_head *head, uint8_t out[FILE_HEAD_LONGEST]);
/* The bytes that `data` begins with: how many belong to the head; 0 when more are needed, -1 when
 * it is none. */
int file_head_decode(const uint8_t *data, size_t len, file_head *out);
size_t file_answer_encode(const file_answer *answer, uint8_t out[FILE_ANSWER_LONGEST]);
/* 1 when `data` is exactly one answer. */
int file_answer_decode(const uint8_t *data, size_t len, file_answer *out);

/* A name under which to store a file that a peer calls `name`: the part behind the last slash,
 * without control characters and invalid UTF-8, not hidden, not empty, at most 200 bytes. */
#define FILE_SAFE_LONGEST 200
void file_safe_name(const uint8_t *name, size_t len, char out[FILE_SAFE_LONGEST + 1]);

#endif
