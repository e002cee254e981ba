package spoor

import "testing"

// Goal: no webhook leads into private networks, whatever name it has.
// Method: addresses as they come out of a resolution.
func TestPrivateAddresses(t *testing.T) {
	for _, a := range []string{
		"127.0.0.1:80", "[::1]:80", "10.1.2.3:443", "172.16.0.1:443", "192.168.1.1:443", "169.254.169.254:80", "100.64.0.1:80",
		"[fd00::1]:80", "[fe80::1]:80", "0.0.0.0:80", "[::]:80", "[::ffff:10.0.0.1]:80", "[64:ff9b::7f00:1]:80", "[64:ff9b::a00:1]:80", "[64:ff9b:1::1]:80", "224.0.0.1:80", "255.255.255.255:80", "nonsense",
	} {
		if publicOnly("tcp", a, nil) == nil {
			t.Errorf("%s is taken for public", a)
		}
	}
	for _, a := range []string{"93.184.215.14:443", "[2606:2800:21f:cb07::1]:443", "[64:ff9b::5db8:d70e]:443"} {
		if err := publicOnly("tcp", a, nil); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}
