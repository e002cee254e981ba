package spoor

// AppDigest says what a store holds of an app, without a word of it: two stores
// that hold the same have the same digests, whatever their files look like.
type AppDigest struct {
	App   AppID        `json:"app"`
	Kinds []KindDigest `json:"kinds"` // always all, in the same order
}

// KindDigest is about the records of one kind.
type KindDigest struct {
	Kind    string `json:"kind"` // profiles, hits, ...
	Records int64  `json:"records"`
	Sum     string `json:"sum"` // SHA-256 of what they say, in hex
}
