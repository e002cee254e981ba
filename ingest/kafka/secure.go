package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// mechanism makes what tells the brokers who we are; nil if nothing does.
func (o *Options) mechanism() (sasl.Mechanism, error) {
	if o.Mechanism == "" {
		if o.User != "" || o.Password != "" {
			return nil, errors.New("a user or password for the brokers is given without a mechanism; name one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")
		}
		return nil, nil
	}
	if o.User == "" || o.Password == "" {
		return nil, fmt.Errorf("mechanism %s needs a user and a password; set %s and %s", o.Mechanism, o.variable("USER"), o.variable("PASSWORD"))
	}
	var m sasl.Mechanism
	var err error
	switch strings.ToUpper(o.Mechanism) {
	case "PLAIN":
		m = plain.Mechanism{Username: o.User, Password: o.Password}
	case "SCRAM-SHA-256":
		m, err = scram.Mechanism(scram.SHA256, o.User, o.Password)
	case "SCRAM-SHA-512":
		m, err = scram.Mechanism(scram.SHA512, o.User, o.Password)
	default:
		return nil, fmt.Errorf("mechanism %q is not known; use PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", o.Mechanism)
	}
	if err != nil {
		return nil, fmt.Errorf("user or password cannot be used with %s: %w", o.Mechanism, err)
	}
	return m, nil
}

// explain says in one line why the brokers cannot be used, and what to do.
func (o *Options) explain(err error) error {
	where := "brokers " + strings.Join(o.Brokers, ", ")
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var opErr *net.OpError
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("cannot trust %s: their certificate is signed by no authority that is known here; name its file with %s", where, o.flag("ca"))
	case errors.As(err, &name):
		return fmt.Errorf("cannot trust %s: %w; use the names in their certificate", where, name)
	case errors.As(err, &invalid):
		return fmt.Errorf("cannot trust %s: %w", where, invalid)
	case errors.As(err, &header):
		return fmt.Errorf("cannot speak with %s: they do not answer in TLS; leave %s out or use their TLS port", where, o.flag("tls"))
	case errors.As(err, &alert):
		return fmt.Errorf("cannot speak with %s: they end the TLS handshake: %w; see whether they want a client certificate", where, alert)
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		return fmt.Errorf("%s do not let user %q in by %s; check %s and %s", where, o.User, o.Mechanism, o.variable("USER"), o.variable("PASSWORD"))
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		return fmt.Errorf("%s do not know the mechanism %s; use one that they offer", where, o.Mechanism)
	case errors.Is(err, kafka.IllegalSASLState):
		return fmt.Errorf("%s want a user and a password; name the mechanism with %s", where, o.flag("login"))
	case errors.Is(err, errDenied):
		return fmt.Errorf("%s do not allow user %q what spoor needs; see KAFKA.md for the rights: %w", where, o.User, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("cannot speak with %s: they close the connection; %s", where, o.doubts())
	case errors.As(err, &opErr) && opErr.Op != "dial" && opErr.Timeout():
		return fmt.Errorf("cannot speak with %s: they say nothing; %s", where, o.doubts())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("%s did not answer in time; check the addresses and that they are up: %w", where, err)
	case errors.As(err, &opErr):
		return fmt.Errorf("cannot reach %s: %w; check the addresses and that they are up", where, opErr)
	}
	return fmt.Errorf("cannot use %s: %w", where, err)
}

// flag and variable name what an operator would set.
func (o *Options) flag(name string) string { return "--" + o.Prefix + "kafka-" + name }

func (o *Options) variable(name string) string {
	return "SPOOR_" + strings.ToUpper(strings.ReplaceAll(o.Prefix, "-", "_")) + "KAFKA_" + name
}

// doubts are what to look at when a broker says nothing of what it misses.
func (o *Options) doubts() string {
	tls, user := "whether they want TLS ("+o.flag("tls")+")", "whether they want a user ("+o.flag("login")+")"
	if o.TLS != nil {
		tls = "whether this port speaks TLS (" + o.flag("tls") + ")"
	}
	if o.Mechanism != "" {
		user = fmt.Sprintf("user %q, its password and %s (%s, %s, %s)", o.User, o.Mechanism, o.variable("USER"), o.variable("PASSWORD"), o.flag("login"))
	}
	return "check " + user + ", and " + tls
}

// lasting says whether an error needs somebody to change something.
func lasting(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.Is(err, errDenied) || errors.Is(err, kafka.SASLAuthenticationFailed) ||
		errors.Is(err, kafka.UnsupportedSASLMechanism) || errors.As(err, &certificate)
}
