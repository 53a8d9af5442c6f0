/** Keeps a fault in one page from taking the others with it. */
import { Button } from "antd";
import { Component, type ReactNode } from "react";
import { Icon } from "../ui/icons";

interface Words { title: string; text: string; reload: string }

export class Boundary extends Component<{ words: Words; children: ReactNode }, { error: Error | null }> {
  override state: { error: Error | null } = { error: null };

  static getDerivedStateFromError(error: Error) {
    return { error };
  }

  override render() {
    const { error } = this.state;
    if (!error) return this.props.children;
    const { title, text, reload } = this.props.words;
    return (
      <div className="page">
        <div className="trouble" role="alert">
          <Icon name="failed" size={20} />
          <div>
            <p className="trouble-detail">{title}</p>
            <p>{text}</p>
            <pre tabIndex={0}>{error.message}</pre>
            <Button onClick={() => location.reload()}>{reload}</Button>
          </div>
        </div>
      </div>
    );
  }
}
