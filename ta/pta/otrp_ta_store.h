/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interface to the pseudo TA otrp_ta_store: installs, replaces, deletes and
 * looks up trusted applications in the TA database of secure storage, on
 * behalf of the OTrP broker and of nobody else.
 *
 * The broker has verified who signed a TA before it calls. What this
 * interface guarantees is that an entry appears, is replaced or disappears as
 * a whole, and that it holds exactly the bytes that were announced.
 *
 * UUIDs are passed as 16 octets in network order (RFC 4122).
 *
 * Every command fails with TEE_ERROR_ACCESS_DENIED for any other client and
 * with TEE_ERROR_BAD_PARAMETERS for other parameter types than those given
 * here.
 */

#ifndef __OTRP_TA_STORE_H
#define __OTRP_TA_STORE_H

#define PTA_OTRP_TA_STORE_UUID { 0x6b6f0f23, 0x8b46, 0x4e9a, \
		{ 0x92, 0x1a, 0xc1, 0x4b, 0x10, 0x6f, 0xec, 0x81 } }

/* The user TA that may open a session */
#define OTRP_BROKER_UUID { 0x9e043ec0, 0x1043, 0x415e, \
		{ 0x85, 0x3d, 0x69, 0x0a, 0x6d, 0x34, 0x10, 0x54 } }

/* The user TA that may do so too where CFG_OTRP_TA_STORE_TEST_CLIENT=y */
#define OTRP_CONFORMANCE_UUID { 0x7fc3b03e, 0xd5b8, 0x45c5, \
		{ 0x94, 0xcb, 0x5b, 0x36, 0xec, 0x23, 0xa5, 0xda } }

#define PTA_OTRP_TA_STORE_UUID_SIZE	16
#define PTA_OTRP_TA_STORE_DIGEST_SIZE	32

/*
 * BEGIN - Start to install or to replace a TA
 *
 * [in]  value[0].a	Size of the ELF in bytes, at least 1
 * [in]  value[0].b	Version of the TA
 * [in]  memref[1]	UUID, then the SHA-256 of the ELF: 48 octets
 *
 * A session has one transaction at most: an open one is aborted first.
 * Closing the session aborts it, too.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_BAD_PARAMETERS - Empty or absurdly large TA, nil UUID
 * TEE_ERROR_ACCESS_CONFLICT - The UUID is that of a pseudo TA, of an early TA
 *			       or of a client of this interface
 * TEE_ERROR_OUT_OF_MEMORY, TEE_ERROR_STORAGE_NO_SPACE - No room
 */
#define PTA_OTRP_TA_STORE_BEGIN		0

/*
 * WRITE - Append bytes to the ELF
 *
 * [in]  memref[0]	The next bytes, at least 1
 *
 * Any failure aborts the transaction.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_BAD_STATE - No transaction is open
 * TEE_ERROR_EXCESS_DATA - More bytes than announced
 * TEE_ERROR_STORAGE_NO_SPACE - No room
 */
#define PTA_OTRP_TA_STORE_WRITE		1

/*
 * COMMIT - Make what was written the TA that loads under its UUID
 *
 * Replaces an existing entry atomically. The transaction is over whatever
 * the outcome. No session that is opened from here on joins an instance that
 * exists already: one without sessions is destroyed, also where it is to be
 * kept alive or has crashed; any other ends with its last session.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_BAD_STATE - No transaction is open, or fewer bytes than announced
 * TEE_ERROR_SECURITY - The bytes do not have the announced digest
 * Any other - Storage failed; QUERY tells whether the old or the new TA is
 *	       installed
 */
#define PTA_OTRP_TA_STORE_COMMIT	2

/*
 * ABORT - Drop an open transaction; none is success
 */
#define PTA_OTRP_TA_STORE_ABORT		3

/*
 * DELETE - Delete a TA; an absent one is success
 *
 * [in]  memref[0]	UUID
 *
 * Instances that exist are retired as by COMMIT.
 *
 * An entry can also be deleted when its UUID has since become that of an early
 * TA or a pseudo TA, which is what loads under it.
 *
 * Return codes:
 * TEE_SUCCESS
 * Any other - Storage failed; the entry may be there or not
 */
#define PTA_OTRP_TA_STORE_DELETE	4

/*
 * QUERY - What is installed under a UUID
 *
 * [in]  memref[0]	UUID
 * [out] memref[1]	SHA-256 of the ELF: 32 octets
 * [out] value[2].a	Size of the ELF in bytes
 * [out] value[2].b	Version of the TA
 *
 * Reads and authenticates the whole entry, because the digest is stored with
 * the ELF, in a file that the normal world can alter.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_ITEM_NOT_FOUND - Nothing that could be loaded. The normal world
 *			      can cause this by hiding the entry's file, and
 *			      bring the file back later: who concludes that
 *			      the TA is gone must call DELETE to make it so.
 * TEE_ERROR_CORRUPT_OBJECT - The entry was altered, or was not made through
 *			      this interface
 * TEE_ERROR_SHORT_BUFFER - memref[1] is too small
 */
#define PTA_OTRP_TA_STORE_QUERY		5

/*
 * CHECK - Whether secure storage can be opened
 *
 * A user TA that opens an object of a storage whose directory is older than
 * the core's counter, or gone, is ended by libutee: GlobalPlatform's interface
 * has no code for it. This command has.
 *
 * Return codes:
 * TEE_SUCCESS
 * TEE_ERROR_CORRUPT_OBJECT - The directory is damaged, missing or too old
 * Any other - It cannot be told now
 */
#define PTA_OTRP_TA_STORE_CHECK		6

#endif /* __OTRP_TA_STORE_H */
