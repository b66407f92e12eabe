/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interface to the pseudo TA otrp_store: what the OTrP broker keeps, for the
 * broker and for nobody else.
 *
 * The store holds one record, which the broker writes and reads as a whole,
 * and blobs: the images of trusted applications, which the core loads by UUID
 * from here, and data. A blob never changes. COMMIT replaces the record, adds
 * the blobs that were sealed before it and removes others in one atomic step;
 * nothing else changes what is stored.
 *
 * The broker has verified who signed a TA before it calls. What this
 * interface guarantees is that the record and the blobs are always those of
 * one commit, the last one; that a blob has exactly the octets that were
 * written; and that only TAs of one owner share code.
 *
 * A session has a set of pending blobs, at most PTA_OTRP_STORE_PENDING_MAX,
 * and at most one open blob. ABORT, LOAD, COMMIT whatever its outcome, and the
 * end of the session leave neither. Nothing of a blob that was not committed
 * remains.
 *
 * Every command fails with TEE_ERROR_ACCESS_DENIED for any other client and
 * with TEE_ERROR_BAD_PARAMETERS for other parameter types and sizes than those
 * given here. TEE_ERROR_CORRUPT_OBJECT means that what is stored was altered,
 * is missing or is older than the core's counter; any code that is not listed,
 * that storage or memory failed, now.
 */

#ifndef __OTRP_STORE_H
#define __OTRP_STORE_H

#define PTA_OTRP_STORE_UUID { 0x6b6f0f23, 0x8b46, 0x4e9a, \
		{ 0x92, 0x1a, 0xc1, 0x4b, 0x10, 0x6f, 0xec, 0x81 } }

/* The user TA that may open a session */
#define OTRP_BROKER_UUID { 0x9e043ec0, 0x1043, 0x415e, \
		{ 0x85, 0x3d, 0x69, 0x0a, 0x6d, 0x34, 0x10, 0x54 } }

/* The user TA that may do so too where CFG_OTRP_STORE_TEST_CLIENT=y */
#define OTRP_CONFORMANCE_UUID { 0x7fc3b03e, 0xd5b8, 0x45c5, \
		{ 0x94, 0xcb, 0x5b, 0x36, 0xec, 0x23, 0xa5, 0xda } }

/*
 * The name of a blob: its kind, one octet, and 16 octets that tell it from
 * others of its kind. Those of an image are its UUID in network order (RFC
 * 4122); those of any other kind are the client's choice.
 */
#define PTA_OTRP_STORE_KIND_IMAGE	0
#define PTA_OTRP_STORE_KIND_MAX		0x7f
#define PTA_OTRP_STORE_NAME_SIZE	17
/* Who owns an image: the client's choice, too */
#define PTA_OTRP_STORE_OWNER_SIZE	32
#define PTA_OTRP_STORE_DIGEST_SIZE	32
#define PTA_OTRP_STORE_PENDING_MAX	4
/*
 * Longest record. A blob may have up to 2^31 - 1 octets, and there may be up to
 * 1024 blobs, those included that were removed and whose files or data still
 * are to be.
 */
#define PTA_OTRP_STORE_RECORD_MAX	(128 * 1024)

/*
 * LOAD - Read the record
 *
 * [out] memref[0]	The record
 *
 * Also finishes what a power cut or a failure has left to do: files of blobs
 * that were removed, data of TAs that were removed.
 *
 * On an error memref[0] holds no octet of the record.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_ITEM_NOT_FOUND - Nothing was committed yet; the session knows that
 * TEE_ERROR_CORRUPT_OBJECT
 * TEE_ERROR_SHORT_BUFFER - memref[0] is too small; its size is the record's
 */
#define PTA_OTRP_STORE_LOAD		0

/*
 * BEGIN - Begin to write a blob; an open one is dropped first
 *
 * [in]  memref[0]	Name, then owner (all zero unless an image): 49 octets
 * [in]  value[1].a	Size of the blob in octets; of an image at least 1
 * [in]  value[1].b	Version; for the client to read back
 *
 * Also tries to finish what keeps the UUID busy.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_BAD_PARAMETERS - Nil UUID, unknown kind, a size out of range
 * TEE_ERROR_BAD_STATE - There are PTA_OTRP_STORE_PENDING_MAX pending blobs
 * TEE_ERROR_ACCESS_CONFLICT - The UUID is that of a pseudo TA, of an early TA
 *			       or of a client of this interface
 * TEE_ERROR_BUSY - Data of a TA that was removed are still to be removed: an
 *		    instance of it runs, or storage failed
 * TEE_ERROR_CORRUPT_OBJECT
 * TEE_ERROR_OUT_OF_MEMORY, TEE_ERROR_STORAGE_NO_SPACE - No room
 */
#define PTA_OTRP_STORE_BEGIN		1

/*
 * WRITE - Append octets to the open blob
 *
 * [in]  memref[0]	The next octets, at least 1
 *
 * Makes a call to the normal world for each 64 KiB that were begun, so the
 * whole blob at once is best. Any failure drops the open blob.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_BAD_STATE - No blob is open
 * TEE_ERROR_EXCESS_DATA - More octets than announced
 * TEE_ERROR_STORAGE_NO_SPACE - No room
 */
#define PTA_OTRP_STORE_WRITE		2

/*
 * SEAL - Make the open blob a pending one, in place of one of the same name
 *
 * Any failure drops the open blob.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_BAD_STATE - No blob is open, or it has fewer octets than announced
 */
#define PTA_OTRP_STORE_SEAL		3

/*
 * ABORT - Drop the open blob and the pending ones; none is success
 */
#define PTA_OTRP_STORE_ABORT		4

/*
 * COMMIT - Replace the record, add the pending blobs, remove others: at once
 *
 * [in]  memref[0]	The record, at least 1 octet
 * [in]  memref[1]	Names of blobs to remove, one after another; those
 *			that do not exist are passed over. Without any, no
 *			octets. A pending blob replaces one of the same name
 *			also where that name is among these.
 *
 * Refused unless the session knows what is stored, in its present state, from
 * LOAD or from its own last COMMIT.
 *
 * No session that is opened from here on joins an instance that exists
 * already of a TA whose image was replaced or removed: one without sessions is
 * destroyed, also where it is to be kept alive or has crashed, as soon as the
 * client has returned to the normal world; any other ends with its last
 * session. Neither loads libraries any more.
 *
 * What a TA itself has stored is removed with its image, in every storage of
 * the core (unless CFG_OTRP_STORE_KEEP_DATA=y): at once, or when no instance of
 * the TA has a session any more and this, LOAD or BEGIN is called next. Until
 * then nothing loads and nothing is installed under its UUID.
 *
 * An image can also be removed when its UUID has since become that of an early
 * TA or a pseudo TA, which is what loads under it; then its data are kept,
 * for they may be the other's.
 *
 * Return codes:
 * TEE_SUCCESS - It is done, and survives any power cut from here on
 * TEE_ERROR_BAD_STATE - The session does not know what is stored; LOAD first
 * TEE_ERROR_BUSY - As for BEGIN
 * TEE_ERROR_OUT_OF_MEMORY, TEE_ERROR_STORAGE_NO_SPACE - No room, nothing changed
 * TEE_ERROR_CORRUPT_OBJECT
 * Any other - LOAD tells whether it is done
 */
#define PTA_OTRP_STORE_COMMIT		5

/*
 * READ - Read a blob that was committed
 *
 * [in]  memref[0]	Name: 17 octets
 * [out] memref[1]	The blob
 *
 * On an error memref[1] holds no octet of the blob.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_ITEM_NOT_FOUND - There is none of this name
 * TEE_ERROR_CORRUPT_OBJECT - This blob, or all that is stored; LOAD tells which
 * TEE_ERROR_SHORT_BUFFER - memref[1] is too small; its size is the blob's
 */
#define PTA_OTRP_STORE_READ		6

/*
 * QUERY - What is stored under a name
 *
 * [in]  memref[0]	Name: 17 octets
 * [out] memref[1]	SHA-256 of the blob: 32 octets
 * [out] value[2].a	Size in octets
 * [out] value[2].b	Version
 *
 * Reads and authenticates the whole blob.
 *
 * Return codes: as READ
 */
#define PTA_OTRP_STORE_QUERY		7

#endif /* __OTRP_STORE_H */
