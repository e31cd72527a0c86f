/* libatlas: a connection to a peer by its public key, wherever that peer is.
 *
 * This header includes the whole stable interface. Start with atlas/context.h (the loop contract),
 * then atlas/peer.h. */
#ifndef ATLAS_H
#define ATLAS_H

#include <atlas/address.h>
#include <atlas/config.h>
#include <atlas/context.h>
#include <atlas/discovery.h>
#include <atlas/error.h>
#include <atlas/identity.h>
#include <atlas/nat.h>
#include <atlas/peer.h>
#include <atlas/relay.h>
#include <atlas/stun.h>

#endif
