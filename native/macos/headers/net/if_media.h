// Kinds and states of interfaces, for a compiler that has no macOS SDK: as much of its <net/if_media.h> as libpcap uses.
#ifndef RCAP_NET_IF_MEDIA_H
#define RCAP_NET_IF_MEDIA_H

#define IFM_TYPE(media) ((media) & 0xe0)
#define IFM_IEEE80211 0x80
#define IFM_AVALID 1
#define IFM_ACTIVE 2

#endif
