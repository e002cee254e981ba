package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

type linkCommand struct {
	dataFlag
	App     string        `help:"The app." required:"" placeholder:"NAME"`
	To      string        `help:"Where a click leads: prints a signed link that counts it." placeholder:"URL" xor:"what" required:""`
	Open    bool          `help:"Print an image tag instead, which tells that the mail was opened." xor:"what" required:""`
	OptOut  bool          `help:"Print a signed link instead, by which the person opts out." xor:"what" required:""`
	Profile string        `help:"Key of the profile of whoever gets the mail." placeholder:"KEY"`
	For     time.Duration `help:"How long the link works." default:"8760h" placeholder:"TIME"`
	Base    string        `help:"Address of the collector, as the world sees it. [${default}]" default:"http://127.0.0.1:8080" env:"SPOOR_BASE_URL" placeholder:"URL"`
}

func (c *linkCommand) Run() error {
	base, err := url.Parse(c.Base)
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" {
		return fmt.Errorf("cannot make a link under %q: give --base as https://track.shop.example", c.Base)
	}
	if c.For <= 0 {
		return fmt.Errorf("cannot make a link that works for %v: give --for a time such as 720h", c.For)
	}
	if c.Profile == "" && (c.Open || c.OptOut) { // a click may be nobody's
		return errors.New("cannot tell whose mail it is: give --profile the key of the profile")
	}
	var link struct{ Path, Key string }
	in := map[string]string{"to": c.To, "profile": c.Profile, "expires": time.Now().Add(c.For).UTC().Format(time.RFC3339)}
	if err := newClient(c.Data).call("POST", appPath(c.App)+"links/", in, &link); err != nil {
		return err
	}
	if c.Open {
		q := url.Values{"k": {link.Key}, "y": {"mail_open"}, "c": {c.Profile}}
		link.Path = "/pixel.gif?" + q.Encode()
		fmt.Printf("<img src=\"%s\" width=\"1\" height=\"1\" alt=\"\">\n", strings.ReplaceAll(strings.TrimSuffix(c.Base, "/")+link.Path, "&", "&amp;"))
		return nil
	}
	fmt.Println(strings.TrimSuffix(c.Base, "/") + link.Path)
	return nil
}
