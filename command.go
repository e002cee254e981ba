package spoor

// Command is a change of one app on its way through the log of a cluster. Every
// store node that reads the app's partition applies it at the same place between
// the hits and, with its time and its seed, comes to the same result.
type Command struct {
	App  AppID
	ID   [16]byte // random; by it whoever asked recognises the result
	At   int64    // Unix ms: "now" for all that it does
	Seed [32]byte // all that is random in it comes from it
	Kind CommandKind
	Body []byte // of a CommandRequest: JSON of package query; of others what the kind says
}

// CommandKind says what a Command does. The values stand in records of topics and never change.
type CommandKind uint8

// The kinds of commands.
const (
	CommandRequest   CommandKind = iota + 1 // a request of the API that changes something
	CommandRetain                           // what falls due by time: seal, sweep, expire, end the app
	CommandLook                             // tell who crossed watched segments
	CommandMark                             // take a digest of the partition's apps here
	CommandDelivered                        // what one node delivered to webhooks need not be delivered by another
)
