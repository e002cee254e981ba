package main

// event names one event of a run, so that the ledger needs no table of texts:
// which stream sent it, for which app, and as which of the stream's events.
type event struct {
	stream, app int
	seq         uint32
}

// Widths of the parts of a packed event. The sequence fills the rest.
const (
	streamBits = 14
	appBits    = 12
	seqBits    = 32
)

const (
	idBytes  = 26 // text of an event id: a ULID
	ulidTime = 10 // of these, the characters that hold the time
)

const crockford = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

var crockfordValue = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i := range len(crockford) {
		t[crockford[i]] = int8(i)
	}
	return t
}()

// appendID appends the event's id as a ULID. Its 80 random bits are the event
// behind a reversible mix, and a check: ids spread and compress like random
// ones, and yet tell which event they name.
func (e event) appendID(dst []byte, unixMilli int64, salt uint64) []byte {
	for i := ulidTime - 1; i >= 0; i-- {
		dst = append(dst, crockford[unixMilli>>(5*i)&31])
	}
	packed := uint64(e.stream)<<(appBits+seqBits) | uint64(e.app)<<seqBits | uint64(e.seq)
	high, low := mix(packed^salt), check(packed, salt)
	for i := 11; i >= 0; i-- {
		dst = append(dst, crockford[high>>(5*i+4)&31])
	}
	tail := high&15<<16 | low // 4 + 16 bits
	for i := 3; i >= 0; i-- {
		dst = append(dst, crockford[tail>>(5*i)&31])
	}
	return dst
}

// parseID is the reverse of appendID; ok is false for an id that no run with
// this salt has made.
func parseID(id string, salt uint64) (e event, ok bool) {
	if len(id) != idBytes {
		return e, false
	}
	var high, tail uint64
	for i := ulidTime; i < len(id); i++ {
		v := crockfordValue[id[i]]
		if v < 0 {
			return e, false
		}
		if i < ulidTime+12 {
			high = high<<5 | uint64(v)
		} else {
			tail = tail<<5 | uint64(v)
		}
	}
	high = high<<4 | tail>>16
	packed := unmix(high) ^ salt
	if packed>>(streamBits+appBits+seqBits) != 0 || check(packed, salt) != tail&0xffff {
		return e, false
	}
	return event{
		stream: int(packed >> (appBits + seqBits)),
		app:    int(packed >> seqBits & (1<<appBits - 1)),
		seq:    uint32(packed),
	}, true
}

func check(packed, salt uint64) uint64 { return mix(mix(packed)^salt) & 0xffff }

// mix is the finaliser of SplitMix64: every bit of the input moves every bit
// of the output, and no two inputs meet.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unmix is the reverse of mix.
func unmix(x uint64) uint64 {
	x = (x ^ x>>31 ^ x>>62) * 0x319642b2d24d8ec3
	x = (x ^ x>>27 ^ x>>54) * 0x96de1b173f119089
	return x ^ x>>30 ^ x>>60
}
