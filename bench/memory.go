package main

import "time"

// sampler reads a process's resident memory once a second.
type sampler struct {
	stop chan struct{}
	done chan struct{}
	at   []float64 // minutes since the start
	rss  []float64 // bytes
}

func sample(p *process) *sampler {
	s := &sampler{stop: make(chan struct{}), done: make(chan struct{})}
	began := time.Now()
	go func() {
		defer close(s.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case now := <-tick.C:
				rss, _ := p.memory()
				s.at, s.rss = append(s.at, now.Sub(began).Minutes()), append(s.rss, float64(rss))
			}
		}
	}()
	return s
}

// slope ends the sampling and tells how fast memory grew in the second half,
// in bytes a minute. Without a sampler it is 0.
func (s *sampler) slope() float64 {
	if s == nil {
		return 0
	}
	s.end()
	half := len(s.at) / 2
	return slope(s.at[half:], s.rss[half:])
}

func (s *sampler) end() {
	close(s.stop)
	<-s.done
}

// most ends the sampling and tells the most that was seen, in bytes.
func (s *sampler) most(p *process) int64 {
	s.end()
	most, _ := p.memory()
	for _, v := range s.rss {
		most = max(most, int64(v))
	}
	return most
}

// slope fits a line by least squares.
func slope(x, y []float64) float64 {
	n := float64(len(x))
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx += x[i]
		sy += y[i]
		sxx += x[i] * x[i]
		sxy += x[i] * y[i]
	}
	d := n*sxx - sx*sx
	if d == 0 {
		return 0
	}
	return (n*sxy - sx*sy) / d
}
