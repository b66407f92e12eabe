/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Internals of the pseudo TA otrp_store; otrp_store.h is its interface.
 */

#ifndef __STORE_H
#define __STORE_H

#include <compiler.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <tee/tee_fs_rpc.h>
#include <tee_api_types.h>

#include "otrp_store.h"

/* AES-256-GCM */
#define STORE_KEY_SIZE		32
#define STORE_TAG_SIZE		16

/*
 * Part of a file that is one message of AES-GCM. Everything is encrypted and
 * decrypted in memory of the core: what the normal world shares is written
 * once, or read once.
 */
struct cipher {
	void *ctx;
	TEE_OperationMode mode;
};

/*
 * Messages that share a key; every other key is used for one message. A key is
 * fresh, so that no pair of key and IV ever is used for two messages.
 */
enum message { MESSAGE_FIRST, MESSAGE_RECORD };

TEE_Result cipher_init(struct cipher *cipher, TEE_OperationMode mode,
		       const uint8_t *key, enum message message, size_t size);
TEE_Result cipher_seal(struct cipher *cipher, uint8_t *tag);
/* TEE_ERROR_CORRUPT_OBJECT if what was decrypted is not what was encrypted */
TEE_Result cipher_check(struct cipher *cipher, const uint8_t *tag);
void cipher_free(struct cipher *cipher);

/*
 * Files of tee-supplicant. What the normal world returns becomes one of
 * TEE_ERROR_OUT_OF_MEMORY, TEE_ERROR_STORAGE_NO_SPACE and
 * TEE_ERROR_STORAGE_NOT_AVAILABLE, and for file_open() and file_remove() also
 * TEE_ERROR_ITEM_NOT_FOUND: no other code is the normal world's to choose.
 */
TEE_Result file_create(const char *name, int *fd);
TEE_Result file_open(const char *name, int *fd);
/* A file that the root leads to: TEE_ERROR_CORRUPT_OBJECT if it is missing */
TEE_Result file_open_known(const char *name, int *fd);
TEE_Result file_remove(const char *name);
void file_close(int fd);
TEE_Result file_result(TEE_Result res);

/*
 * struct transfer - consecutive octets of a file that are written or read, in
 *		     as few calls to the normal world as possible
 * @fd:		The file
 * @pos:	Where the next call begins
 * @remaining:	Octets that no call had yet
 * @op:		The call
 * @window:	Memory of the call, shared with the normal world
 * @size:	Octets of @window
 * @used:	Octets of @window that were filled or taken
 * @bounce:	Memory of the core
 *
 * There is one such memory for each thread: nothing else may call the normal
 * world's file system while a transfer is not finished.
 */
struct transfer {
	int fd;
	size_t pos;
	size_t remaining;
	struct tee_fs_rpc_operation op;
	uint8_t *window;
	size_t size;
	size_t used;
	uint8_t *bounce;
};

TEE_Result transfer_init(struct transfer *transfer, int fd, size_t pos,
			 size_t size);
/* Encrypts from one of @core and @user */
TEE_Result transfer_write(struct transfer *transfer, struct cipher *cipher,
			  const void *core, const void *user, size_t len);
/*
 * Decrypts to @core and @user where they are not NULL; @hash_ctx, too, may be.
 * TEE_ERROR_CORRUPT_OBJECT if the file is shorter.
 */
TEE_Result transfer_read(struct transfer *transfer, struct cipher *cipher,
			 void *hash_ctx, void *core, void *user, size_t len);
void transfer_final(struct transfer *transfer);

struct blob_name {
	uint8_t kind;
	uint8_t id[16];
};

/*
 * struct entry - what is known of a blob, as stored
 * @name:	Its name, or a tombstone's kind and the UUID whose data go
 * @owner:	Owner of an image
 * @version:	The client's
 * @size:	Octets
 * @file:	Number in the name of its file
 * @key:	Key of its file
 * @tag:	Tag of its file
 */
struct entry {
	struct blob_name name;
	uint8_t owner[PTA_OTRP_STORE_OWNER_SIZE];
	uint32_t version;
	uint32_t size;
	uint32_t file;
	uint8_t key[STORE_KEY_SIZE];
	uint8_t tag[STORE_TAG_SIZE];
} __packed;

/* A tombstone has this kind, with what is still to be removed */
#define TOMBSTONE		0x80
#define TOMBSTONE_FILE		0x01
#define TOMBSTONE_DATA		0x02

/* A blob that was begun and not committed */
struct blob;

/*
 * struct store_session - a client's session
 * @knows:	Whether the client knows what is stored
 * @sequence:	Number of the commit that it knows
 * @open:	The blob that is being written
 * @pending:	Blobs that the next commit adds
 * @pending_count: How many
 */
struct store_session {
	bool knows;
	uint64_t sequence;
	struct blob *open;
	struct blob *pending[PTA_OTRP_STORE_PENDING_MAX];
	size_t pending_count;
};

/* Whether the UUID is a client's or that of a TA in the core's own image */
bool is_reserved_uuid(const TEE_UUID *uuid);

TEE_Result store_begin(struct store_session *session,
		       const struct blob_name *name, const uint8_t *owner,
		       uint32_t size, uint32_t version);
TEE_Result store_write(struct store_session *session, const void *user,
		       size_t len);
TEE_Result store_seal(struct store_session *session);
/* Drops the open blob; or that and the pending ones */
void store_drop_open(struct store_session *session);
void store_drop_all(struct store_session *session);
/* @names: changed; those to be removed that are the core's copy */
TEE_Result store_commit(struct store_session *session, const void *record_user,
			size_t record_size, struct blob_name *names,
			size_t name_count);
/* @size: capacity of @user, then the record's size */
TEE_Result store_load(struct store_session *session, void *user, size_t *size);

/*
 * Opens the file of a blob. TEE_ERROR_ITEM_NOT_FOUND if there is no blob of
 * this name, or for store_open_image() none that @for_ta may load.
 */
TEE_Result store_open(const struct blob_name *name, struct entry *entry,
		      int *fd);
TEE_Result store_open_image(const TEE_UUID *uuid, const TEE_UUID *for_ta,
			    struct entry *entry, int *fd);

#endif /* __STORE_H */
