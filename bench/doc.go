// Command bench measures spoor as a user runs it: the real program, built and
// started in a process of its own, under traffic whose every acknowledged
// event is looked for afterwards.
//
//	go run ./bench                    the table of targets, in ten minutes
//	go run ./bench -json FILE         the same, also for programs
//	go run ./bench -only model        one kind of traffic, or some by comma
//	go run ./bench -long              everything, with the store's own check; an hour
//	go run ./bench -against URL       the same traffic in turn at another server
//	go run ./bench -cpuprofile FILE   where the server's time goes; -memprofile: its heap; -only chooses the traffic
//	go run ./bench -forget            sweeping and erasing, in simulated months; twenty minutes
//	go run ./bench -large             statistics of a store of 50 million hits
//	go run ./bench -rollups           what roll-ups cost, with and without them in turn
//	go test ./bench -run '^$' -bench Records -benchtime 1x
//	go test ./bench ./store -run '^$' -bench Stage -benchmem -count 10    for benchstat
//
// It prints the targets, and the machine, rates, latencies, CPU, memory and disk as
// Markdown. model.go describes the traffic, scenarios what is measured, target.go
// what is wanted; README.md says how to read it, and keeps the last full run.
//
// # How to read it
//
// Client and server share the cores, but for half capacity in a closed loop: each connection sends
// its next request when it has read the last reply, so latency is that of a
// saturated server, and a slow one is sent less. The ratio compares with a
// bare fasthttp handler that answers 204 to the same requests; a second one with
// spoor's own stages and no store behind them. All are measured in turn, in
// short rounds, and spoor stands still (SIGSTOP) while the others run; a ratio
// is the median of the rounds. CPU is that of the
// server during its rounds and includes compactions that ran then. Bytes of
// tables a hit are measured after the log went into tables, and before most
// compactions; bytes on disk include logs whose space is taken in advance.
//
// # The ledger
//
// The id of an event says which stream sent it and as which of its events, so
// the ledger is one byte an event. After the run the stopped store is read:
// what was acknowledged must be there once, nothing else may be, and the
// store's own check, which -long adds, must find nothing. Anything else makes bench fail.
//
// # Forgetting
//
// -forget measures store and retention in this process, without HTTP, in simulated
// time: visitors of the model's mix live for some months, each midnight days are
// sealed and who is due is swept. The same month is lived once more in a copy of
// the store where nobody falls due; what sweeping writes is the difference of the
// bytes that Pebble wrote (Stats.WrittenBytes), what it frees the difference of
// the tables. Sealing happens in both. Under load writers of batches come at half
// of what they reach in a closed loop, and latency counts from the planned time
// of a Write. Build it with CGO_ENABLED=0, as spoor is built: else caches lie
// outside of what the collector's limit covers.
//
//	CGO_ENABLED=0 go run ./bench -forget
//	CGO_ENABLED=0 go run ./bench -forget -profiles 20000    in a minute or two
//
// # Statistics
//
// -large builds a store by the day (store.LoadDay), of traffic that mass.go
// describes, and asks for statistics in this process, without HTTP: each question
// once after the store was opened, then all of them in random order, 200 times, or
// 20 times those that take longer than 0.2 s, twice those that read all hits. Files are in the page cache.
// With -dir the store stays there, and the next run begins with the questions.
// -cpuprofile writes where the CPU time of the questions goes, -only chooses some by title.
//
//	CGO_ENABLED=0 go run ./bench -large -hits 100000000 -profiles 1000000 -dir DIR
//	CGO_ENABLED=0 go run ./bench -large -hits 200000 -profiles 5000        in a minute
//
// -rollups runs two servers, one of which writes no roll-up rows, in turn under
// the same traffic; each of three pairs gives a ratio, and the median counts.
//
// # Caveats
//
// Linux only: it reads /proc. Figures of a busy machine are worth little; it
// says when it is one. No test here depends on time.
package main
